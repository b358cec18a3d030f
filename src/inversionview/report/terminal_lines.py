"""The lines of samples in a terminal: columns that align, given up one by one where the terminal is too narrow."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from itertools import accumulate, takewhile
from typing import NamedTuple

from rich.cells import cell_len
from rich.style import Style
from rich.text import Text

from inversionview.report import colors
from inversionview.report.reading import (
    Groups,
    Row,
    bar_scale,
    format_distance,
    printable,
    shares,
    visible,
)
from inversionview.results.reading import Reading

NEUTRAL = "#aab0b9"
"""Where tints start: as far from a white as from a black terminal, since we cannot know which it is."""
STRENGTHS = (0.15, 0.4, 0.7)
"""Changes from which a token is tinted weakly, clearly and fully."""
BAR = 14
LEAST = 18
"""Cells that tokens get at the least, before the bar is given up too."""


class _Column(NamedTuple):
    """A cell for each line: the header, the query, what the members share, then the samples."""

    cells: list[Text]
    right: bool = False

    @property
    def width(self) -> int:
        return max(cell.cell_len for cell in self.cells)


class _Line(NamedTuple):
    """The tokens of one input, as they are drawn."""

    tokens: Sequence[str]
    position: int
    changes: Sequence[float] | None


def sample_lines(reading: Reading, members: Sequence[Row], shown: Groups, width: int) -> list[Text]:
    """Return the lines of the samples shown, none wider than `width` cells, with the line at epsilon among them."""
    rows = [*shown.members, *shown.near]
    distance = _distances(reading, rows)
    extras = _extras(reading, rows)
    bars = [_bars(reading, rows)]
    tokens = in_places = _grid(reading, members, rows)
    while extras and _total([distance, *bars, tokens, *extras]) > width:
        extras.pop()
    if _total([distance, *bars, tokens]) > width:
        room = width - _total([distance, *bars]) - 2
        if room < LEAST:
            bars, room = [], max(8, width - distance.width - 2)
        if tokens.width > room:
            tokens = _context(reading, rows, room)
    columns = [distance, *bars, tokens, *extras]
    lines = [_join(cells, columns) for cells in zip(*(column.cells for column in columns), strict=True)]
    lines[1].stylize("bold")
    label = f"── ε = {reading.epsilon:g} "
    divider = Text(label + "─" * max(0, min(width, _total(columns)) - len(label)), style="bold")
    above = 3 + len(shown.members)
    if not shares(reading, members) or tokens is not in_places:
        del lines[2]
        above -= 1
    return [*lines[:above], divider, *lines[above:]]


def ramp() -> list[Text]:
    """Return the tints from lowered to raised, strongest first and last."""
    values = [-strength for strength in reversed(STRENGTHS)] + [0.0, *STRENGTHS]
    return [Text("   ", style=tint(value)) for value in values]


def tint(change: float) -> Style:
    """Return the style of a token that was raised or lowered by `change`, in [-1, 1]."""
    return _tint(sum(abs(change) >= least for least in STRENGTHS), change > 0)


@cache
def _tint(strength: int, raised: bool) -> Style:
    if not strength:
        return Style.null()
    end = colors.LIGHT.raised if raised else colors.LIGHT.lowered
    return Style(color=colors.LIGHT.ink, bgcolor=colors.mix(NEUTRAL, end, strength / len(STRENGTHS)))


def _join(cells: Iterable[Text], columns: Sequence[_Column]) -> Text:
    padded = []
    for cell, column in zip(cells, columns, strict=True):
        space = " " * (column.width - cell.cell_len)
        padded.append(Text.assemble(space, cell) if column.right else Text.assemble(cell, space))
    line = Text("  ").join(padded)
    line.rstrip()
    return line


def _total(columns: Sequence[_Column]) -> int:
    return sum(column.width for column in columns) + 2 * (len(columns) - 1)


def _distances(reading: Reading, rows: Sequence[Row]) -> _Column:
    names = ["distance", "query", "members"]
    values = [format_distance(row.sample.distance, reading.epsilon).rjust(len(names[0])) for row in rows]
    return _Column([Text(cell) for cell in [*names, *values]])


def _extras(reading: Reading, rows: Sequence[Row]) -> list[_Column]:
    columns = []
    for i, feature in enumerate(reading.features):
        values = [feature.name, feature.query, "", *(row.features[i] for row in rows)]
        columns.append(_Column([Text(printable(value)) for value in values]))
    if not reading.exact:
        columns.append(
            _Column([Text(cell) for cell in ["drawn", "", "", *(f"{r.sample.count:,}" for r in rows)]], True)
        )
    scores = [row.sample.log_prob for row in rows]
    if any(score is not None for score in scores):
        cells = ["log q", "", "", *("" if score is None else f"{score:.1f}" for score in scores)]
        columns.append(_Column([Text(cell) for cell in cells], True))
    return columns


def _bars(reading: Reading, rows: Sequence[Row]) -> _Column:
    scale = bar_scale(reading.epsilon, rows)
    tick = min(BAR - 1, int(BAR * reading.epsilon / scale))
    bars = [_bar(row, scale, tick) for row in rows]
    return _Column([Text(cell) for cell in [" " * tick + "ε", "", "", *bars]])


def _bar(row: Row, scale: float, tick: int) -> str:
    """Return a heavy bar that ends before the tick for a member, a light one that crosses it for a near miss."""
    distance = row.sample.distance
    if distance is None:
        return ""
    filled = max(1, min(BAR, round(BAR * distance / scale)))
    if row.sample.inside:
        return ("━" * min(filled, tick)).ljust(tick) + "│"
    bar = ("─" * max(filled, tick)).ljust(BAR)
    bar = bar[:tick] + "┼" + bar[tick + 1 :]
    return bar[:-1] + "→" if distance > scale else bar


def _grid(reading: Reading, members: Sequence[Row], rows: Sequence[Row]) -> _Column:
    """Return the column of tokens in which each position has its own place."""
    query = reading.query
    lines = [_Line(query.tokens, query.position, None), *map(_line, rows)]
    count = max(len(line.tokens) for line in lines)
    widths = [max(cell_len(visible(line.tokens[i])) for line in lines if i < len(line.tokens)) for i in range(count)]
    at = max(query.position, 0)
    before = sum(width + 1 for width in widths[:at]) + 1 + widths[at] // 2 if query.tokens else 0
    marks = ["▁▁▂▃▄▅▆▇█"[round(8 * share)] for share in shares(reading, members)]
    shared = " " + " ".join(mark.center(width) for mark, width in zip(marks, widths, strict=False)) if marks else ""
    drawn = [_grid_line(line, widths) for line in lines]
    return _Column([Text(" " * before + "▾" if query.tokens else ""), drawn[0], Text(shared), *drawn[1:]])


def _grid_line(line: _Line, widths: Sequence[int]) -> Text:
    text = Text("[" if line.position == 0 else " ")
    for i, token in enumerate(line.tokens):
        shown = visible(token)
        space = widths[i] - cell_len(shown)
        text.append(" " * (space // 2))
        text.append(shown, tint(line.changes[i] if line.changes else 0.0))
        text.append(" " * (space - space // 2))
        text.append("]" if i == line.position else "[" if i + 1 == line.position else " ")
    return text


def _context(reading: Reading, rows: Sequence[Row], room: int) -> _Column:
    """Return the column of tokens around the position read, which stands in the same place of every line."""
    query = reading.query
    before = room * 3 // 5
    lines = [_Line(query.tokens, query.position, None), *map(_line, rows)]
    drawn = [_context_line(line, before, room) for line in lines]
    return _Column([Text(" " * (before + 1) + "▾"), drawn[0], Text(""), *drawn[1:]])


def _context_line(line: _Line, before: int, room: int) -> Text:
    position = line.position
    widths = [cell_len(visible(token)) for token in line.tokens]
    backwards = accumulate(reversed(widths[: max(position, 0)]))
    start = position - sum(1 for _ in takewhile(lambda used: used < before, backwards)) if position > 0 else 0
    left = Text.assemble("…" if start > 0 else "", *_spans(line, range(start, max(position, 0))))
    text = Text.assemble(" " * (before - left.cell_len), left)
    if position >= 0:
        text = Text.assemble(text, "[", *_spans(line, [position]), "]")
    text = Text.assemble(text, *_spans(line, range(position + 1, len(line.tokens))))
    text.truncate(room, overflow="ellipsis")
    return text


def _spans(line: _Line, indices: Iterable[int]) -> list[Text]:
    return [Text(visible(line.tokens[i]), style=tint(line.changes[i] if line.changes else 0.0)) for i in indices]


def _line(row: Row) -> _Line:
    return _Line(row.sample.tokens, row.sample.position, row.sample.colors)
