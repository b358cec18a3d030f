"""Draw a map in a terminal: two lines a site, as many named positions side by side as fit."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.style import Style
from rich.text import Text

from inversionview.report.map import (
    MANY_SITES,
    first_known,
    heading,
    level_of,
    mark,
    marks,
    notes,
    rows,
    shown,
    strongest,
)
from inversionview.report.reading import printable, visible
from inversionview.report.terminal_lines import tint
from inversionview.results.map import Cell, Map, given_by_token

LEAST = 5
"""Cells of the narrowest column: a name such as F1+S1, and its bits below."""
MOST = 20


class _Face(NamedTuple):
    """What is drawn of a cell: the feature it knows best, its bits, and the other features it knows."""

    best: str
    bits: str
    others: list[str]
    style: Style

    def below(self, width: int) -> str:
        """Return the line below the name: bits, other features as they fit, and the number of those that do not."""
        lines = [self._second(named) for named in range(len(self.others), -1, -1)]
        raised = self.bits + str(len(self.others) or "").translate(_RAISED)
        return next((line for line in lines if cell_len(line) <= width), raised)

    def _second(self, named: int) -> str:
        left = len(self.others) - named
        return " ".join([self.bits, *self.others[:named], *([f"+{left}"] if left else [])])


_GIVEN = Style(dim=True)
_RAISED = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")


def render_map_terminal(document: Map, console: Console, feature: str | None = None) -> None:
    """Print the map, what its signs and colours mean, the rule by which features were chosen, and what was measured.

    With `feature`, of that one alone. Raises `UserError` for one that the map lacks.
    """
    document = shown(document, feature)
    of = "" if feature is None else f" about {printable(feature)}"
    console.print(Text(heading(document) + of, style="bold"))
    console.print()
    many = len(document.sites) > MANY_SITES
    for line in _strongest(document) if many else map_lines(document, console.width, alone=feature is not None):
        console.print(line, no_wrap=True, overflow="ellipsis" if many else "crop", soft_wrap=False)
    for line in () if many else _first_known(document):
        console.print(line)
    for sign, least, words in marks():
        console.print(Text.assemble((f" {sign} ", tint(_strength(least))), (f" {words}", "dim")))
    for note in (*notes(document), _raised(document)):
        if note:
            console.print(Text(note, style="dim"))


def _strongest(document: Map) -> Iterator[Text]:
    """Say of each feature which cells give most of it; the whole is on the page and in JSON."""
    found = strongest(document)
    width = max((cell_len(printable(name)) for name in found), default=0)
    for name, cells in found.items():
        line = Text.assemble((f" {printable(name).ljust(width)}  ", "bold"))
        for cell in cells:
            bits, where = cell.bits[name], f" {visible(cell.at)}" if len(document.ats) > 1 else ""
            line.append(f"{printable(cell.site)}{where} ")
            line.append(f"{bits.bits:.1f}{mark(bits.share)}", tint(_strength(bits.share)))
            line.append("  ")
        line.append(f"of {cells[0].bits[name].of:.1f}", "dim")
        yield line
    yield Text("")
    cells_there = len(document.cells)
    yield Text(f"The strongest of {cells_there:,} cells; all of them with --html FILE or --json.", style="dim")


def _first_known(document: Map) -> Iterator[Text]:
    """Say, of each feature, from which site on it is known at which positions."""
    first_sites = first_known(document)
    if not first_sites:
        return
    yield Text("known from", style="bold")
    width = max(cell_len(printable(name)) for name in first_sites)
    for name, places in first_sites.items():
        words = ", ".join(f"{printable(site)} at {visible(at)}" for at, site in places.items())
        yield Text.assemble(f" {printable(name).ljust(width)}  ", (words, "dim"))
    yield Text("")


def map_lines(document: Map, width: int, *, alone: bool = False) -> list[Text]:
    """Return the lines of the map, none wider than `width` cells; positions that do not fit beside come below.

    Of one feature `alone`, cells have its share in place of its name.
    """
    given = given_by_token(document)
    faces = {site: [_face(cell, given, alone=alone) for cell in cells] for site, cells in rows(document)}
    ats = [visible(at) for at in document.ats]
    drawn = [face for line in faces.values() for face in line if face]
    label = min(max((cell_len(printable(site)) for site in faces), default=0), max(4, width // 3))
    least = max([LEAST, *(cell_len(face.below(LEAST)) for face in drawn)])
    room = width - label
    per = max(1, min(len(ats), room // (least + 1)))
    per = math.ceil(len(ats) / max(1, math.ceil(len(ats) / per)))  # blocks of equal size
    lines_of_cells = [line for face in drawn for line in (face.best, face.below(MOST))]
    wanted = max([least, *map(cell_len, [*ats, *lines_of_cells])])
    column = max(1, min(wanted, MOST, room // max(1, per) - 1))
    lines: list[Text] = []
    for start in range(0, len(ats), max(1, per)):
        part = slice(start, start + per)
        lines.append(_header(ats[part], label, column))
        for site, line in faces.items():
            lines += _site(printable(site), line[part], label, column)
        lines.append(Text(""))
    return lines


def _header(ats: Sequence[str], label: int, column: int) -> Text:
    return Text(" " * label + "".join(" " + _centred(at, column) for at in ats), style="dim")


def _site(site: str, faces: Sequence[_Face | None], label: int, column: int) -> Iterator[Text]:
    first, second = Text(_cut(site, label).ljust(label)), Text(" " * label)
    for face in faces:
        for line, words in ((first, face.best if face else ""), (second, face.below(column) if face else "")):
            line.append(" ")
            line.append(_centred(words, column), face.style if face else None)
    yield first
    yield second


def _face(cell: Cell | None, given: Mapping[str, Sequence[str]], *, alone: bool) -> _Face | None:
    if cell is None:
        return None
    best, level = cell.best, level_of(cell)
    if best is None or level is None or level == "nothing":
        return _Face("?" if level is None else "·", "", [], Style.null())
    others = [printable(name) for name in cell.knows if name != best]
    bits, share = cell.bits[best].bits, cell.bits[best].share
    style = _GIVEN if best in given.get(cell.at, ()) else tint(_strength(share))
    name = f"{share:.0%}" if alone else printable(best)
    return _Face(name, f"{bits:.1f}{mark(share)}", others, style)


def _strength(share: float) -> float:
    """Return the change that is tinted fully where a feature is known, clearly where it is partly, else weakly."""
    return {"●": 1.0, "◐": 0.5, "○": 0.2, "·": 0.0}[mark(share)] if share > 0 else 0.0


def _raised(document: Map) -> str:
    if any(len(cell.knows) > 1 for cell in document.cells):
        return "Beside the bits: other features known to as much (●), by name or by number."
    return ""


def _centred(words: str, width: int) -> str:
    words = _cut(words, width)
    space = width - cell_len(words)
    return " " * (space // 2) + words + " " * (space - space // 2)


def _cut(words: str, width: int) -> str:
    return words if cell_len(words) <= width else set_cell_size(words, max(0, width - 1)).rstrip() + "…"
