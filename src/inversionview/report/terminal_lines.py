"""The lines of rows in a terminal: a distance, the text cut between words, and columns beside it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from typing import Literal, NamedTuple

from rich.cells import cell_len
from rich.style import Style
from rich.text import Text

from inversionview.report import colors
from inversionview.report.folding import FOLD, folded, places
from inversionview.report.reading import Row, format_distance, group, printable, visible
from inversionview.results.colors import make_together
from inversionview.results.map import PARTLY
from inversionview.results.reading import Place, Reading, Sample

Rows = Literal["typical", "nearest", "misses"]
NEUTRAL = "#aab0b9"
"""Where tints start: as far from a white as from a black terminal, since we cannot know which it is."""
STRENGTHS = (0.15, 0.4, 0.7)
"""Changes from which a token is tinted weakly, clearly and fully."""
LEAST = 24
"""Cells that texts get at the least, before columns are given up."""
_VALUE = 18
"""Cells of the widest value in a column."""


class _Column(NamedTuple):
    """A name, and a cell for each row."""

    name: str
    cells: list[str]
    right: bool = False

    @property
    def width(self) -> int:
        return max(map(cell_len, [self.name, *self.cells]))


def rows_of(reading: Reading, kind: Rows) -> list[Row]:
    """The members in typical order or nearest first, or the near misses."""
    if kind == "typical" and reading.typical:
        columns = [column.values for column in reading.features]
        return [Row(reading.samples[i], [column[i] for column in columns]) for i in reading.typical]
    groups = group(reading)
    return groups.near if kind == "misses" else groups.members


def row_lines(
    reading: Reading, rows: Sequence[Row], title: str, width: int, *, details: bool = False, tinted: bool = True
) -> list[Text]:
    """A line that says what the rows are and names their columns, and a line for each row; none wider than `width`.

    Where there are features beside the rows, the query comes first, with its own.
    """
    if tinted:
        make_together(row.sample.colors for row in rows)
    starts = [format_distance(row.sample.distance, reading.epsilon) for row in rows]
    extras = _extras(reading, rows, details)
    query = reading.query
    if query.tokens and reading.features:
        own = Sample(query.tokens, query.position, None, True, True, 1, None, None, None)
        rows = [Row(own, [feature.query for feature in reading.features]), *rows]
        starts.insert(0, "query")
    before = max(map(len, starts)) + 4
    while extras and before + LEAST + sum(2 + column.width for column in extras) > width:
        extras.pop()
    room = width - before - sum(2 + column.width for column in extras)
    shared = _shared(reading)
    texts = [_text(reading, row, shared, room, tinted=tinted) for row in rows]
    widest = max(text.cell_len for text in texts)
    if extras:
        widest = min(room, max(widest, cell_len(title) - before))
    head = Text(shortened(title, before + widest if extras else width), style="dim")
    head.append(" " * (before + widest - head.cell_len))
    lines = [_joined(head, extras, [column.name for column in extras], "dim")]
    for i, (start, text) in enumerate(zip(starts, texts, strict=True)):
        line = Text.assemble("  ", (start.rjust(before - 4), "dim"), "  ", text)
        line.append(" " * (widest - text.cell_len))
        lines.append(_joined(line, extras, [column.cells[i] for column in extras]))
    return lines


def ramp() -> list[Text]:
    """Return the tints from lowered to raised, strongest first and last."""
    values = [-strength for strength in reversed(STRENGTHS)] + [0.0, *STRENGTHS]
    return [Text("   ", style=tint(value)) for value in values]


def tint(change: float) -> Style:
    """Return the style of a token that was raised or lowered by `change`, in [-1, 1]."""
    return _tint(sum(abs(change) >= least for least in STRENGTHS), change > 0)


def shortened(words: str, width: int) -> str:
    """Words that are not wider than `width` cells, cut between two of them; the first is cut where it must."""
    if cell_len(words) <= width:
        return words
    tokens = [part if i == 0 else f" {part}" for i, part in enumerate(words.split(" "))]
    kept = folded(tokens, 0, width)
    return "".join(FOLD if i is None else tokens[i] for i in kept)


@cache
def _tint(strength: int, raised: bool) -> Style:
    if not strength:
        return Style.null()
    end = colors.LIGHT.raised if raised else colors.LIGHT.lowered
    return Style(color=colors.LIGHT.ink, bgcolor=colors.mix(NEUTRAL, end, strength / len(STRENGTHS)))


def _joined(start: Text, columns: Sequence[_Column], cells: Iterable[str], style: str = "") -> Text:
    for column, cell in zip(columns, cells, strict=True):
        space = " " * (column.width - cell_len(cell))
        start.append("  " + (space + cell if column.right else cell + space), style)
    start.rstrip()
    return start


def _extras(reading: Reading, rows: Sequence[Row], details: bool) -> list[_Column]:
    """The features beside the rows, what near misses differ in, and with `details` how often each was drawn."""
    first = [""] if reading.query.tokens and reading.features else []
    columns = []
    for i, feature in enumerate(reading.features):
        values = [*([feature.query] if first else []), *(row.features[i] for row in rows)]
        columns.append(_Column(printable(feature.name), [_value(value) for value in values]))
    if any(row.sample.differs for row in rows):
        columns.append(_Column("differs in", [*first, *(printable(row.sample.differs) for row in rows)]))
    if details and not reading.exact:
        columns.append(_Column("drawn", [*first, *(f"{row.sample.count:,}" for row in rows)], right=True))
    scores = [row.sample.log_prob for row in rows]
    if details and any(score is not None for score in scores):
        cells = ["" if score is None else f"{score:.1f}" for score in scores]
        columns.append(_Column("log q", [*first, *cells], right=True))
    return columns


def _value(value: str) -> str:
    return shortened(printable(value), _VALUE)


def _shared(reading: Reading) -> dict[int, str]:
    """The tokens that the query and all members, two at least, have by their distance from the position read."""
    members = [sample for sample in reading.samples if sample.inside]
    if len(members) < 2:
        return {}
    first, *others = [_offsets(sample) for sample in (reading.query if reading.query.tokens else members[0], *members)]
    shared = dict(first)
    for other in others:
        shared = {offset: token for offset, token in shared.items() if other.get(offset) == token}
    return shared


def _offsets(one: Sample | Place) -> dict[int, str]:
    return {i - one.position: token for i, token in enumerate(one.tokens)}


def _text(reading: Reading, row: Row, shared: dict[int, str], room: int, *, tinted: bool) -> Text:
    """The text between begin and end: the position read in brackets, and the words of the best known features kept."""
    sample = row.sample
    tokens, position = sample.tokens[1:-1], sample.position - 1
    share = {feature.name: feature.share for feature in reading.bits}
    values = [
        value
        for feature, value in zip(reading.features, row.features, strict=True)
        if share.get(feature.name, 1.0) >= PARTLY
    ]
    values += [value for f in reading.bits if f.share >= PARTLY for value, _ in f.left]
    kept = places(tokens, (value.strip("'\" ") for value in values))
    same = [i for i, token in enumerate(tokens) if shared.get(i - position) == token]
    text = Text()
    for i in folded(tokens, position, room - 2, keep=kept, shared=same):
        if i is None:
            text.append(FOLD, "dim")
            continue
        words, style = printable(tokens[i]), tint(sample.colors[i + 1] if sample.colors and tinted else 0.0)
        if i == position:
            words = words if words.strip(" ") else visible(tokens[i])
            space = len(words) - len(words.lstrip(" "))
            text = Text.assemble(text, " " * space, "[", (words[space:], style), "]")
        else:
            text.append(words, style)
    return text
