"""A packed document as plain HTML, for where no script runs: its heading, what is said of it, and tables."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from inversionview.report.reading import printable

ROWS = 200
"""Rows of a table; the rest is counted."""
_LONG = 60
"""Characters of a cell that is set in several lines where there is no room for one."""
_NUMBER = re.compile(r"[−+<>]?[\d.,]+%?( ± [\d.e-]+)?|–")


def draw_plain(document: Mapping[str, Any], *, anchor: str = "") -> str:
    """Return a section with what is said of a map or a check, and its tables, of each at most `ROWS` rows."""
    words = document["words"]
    place = f"<code>{escaped(words['place'])}</code> · " if words["place"] else ""
    said = "".join(f"<p>{escaped(sentence)}</p>" for sentence in words["sentences"])
    tables = "".join(draw_table(table, limit=ROWS) for table in words["tables"].values() if table["rows"])
    identity = f' id="{anchor}"' if anchor else ""
    return (
        f'<section class="inversionview plain-view"{identity}><h2>{place}{escaped(words["heading"])}</h2>{said}'
        f"{facts_of(words)}{definitions(words['settings'])}{tables}{notes_of(words)}</section>"
    )


def facts_of(words: Mapping[str, Any]) -> str:
    """Return a paragraph for each fact."""
    return "".join(f"<p><b>{escaped(label)}:</b> {escaped(fact)}</p>" for label, fact in words["facts"])


def notes_of(words: Mapping[str, Any]) -> str:
    """Return the notes below what is drawn."""
    notes = "".join(f"<p>{escaped(note)}</p>" for note in words["notes"])
    return f'<div class="notes">{notes}</div>' if notes else ""


def definitions(rows: Iterable[Sequence[str]]) -> str:
    """Return names with what is said under each; empty where there are none."""
    said = "".join(f"<div><dt>{escaped(name)}</dt><dd>{escaped(words)}</dd></div>" for name, words in rows)
    return f"<dl>{said}</dl>" if said else ""


def draw_table(table: Mapping[str, Any], *, limit: int = ROWS, kind: str = "") -> str:
    """Return a table; where a row has fewer cells than there are columns, its last cell spans what is left."""
    caption, columns, rows = table["caption"], table["columns"], table["rows"]
    names = "".join(f"<th>{escaped(name)}</th>" for name in columns)
    body = "".join(_row(row, len(columns)) for row in rows[:limit])
    if len(rows) > limit:
        body += _row({"cells": [f"{len(rows) - limit:,} more are not shown."], "kind": "note"}, len(columns))
    of = f' class="{kind}"' if kind else ""
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escaped(caption)}"><table{of}>'
        f"<caption>{escaped(caption)}</caption><thead><tr>{names}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _row(row: Mapping[str, Any], columns: int) -> str:
    first, *others = row["cells"]
    spans = f' colspan="{columns - len(others)}"' if len(others) + 1 < columns else ""
    cells = f'<th scope="row"{"" if others else spans}>{escaped(first)}</th>'
    for i, cell in enumerate(others, start=1):
        set_as = ' class="n"' if _NUMBER.fullmatch(cell) else ' class="long"' if len(cell) > _LONG else ""
        cells += f"<td{set_as}{spans if i == len(others) else ''}>{escaped(cell)}</td>"
    kind = f' class="{escaped(row["kind"].replace(" ", "-"))}"' if row["kind"] else ""
    return f"<tr{kind}>{cells}</tr>"


def escaped(text: str) -> str:
    """Escape text for HTML, as content or in a quoted attribute."""
    return escape(printable(text), quote=True)
