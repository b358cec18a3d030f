"""A packed document as plain HTML, for where no script runs: its heading, what is said of it, and tables."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from inversionview.report.reading import format_distance, printable

ROWS = 200
"""Rows of a table; the rest is counted."""
CONTEXT = (60, 40)
"""Characters of a long input before and after the position read."""
_NUMBER = re.compile(r"[−+<>]?[\d.,]+%?( ± [\d.e-]+)?|–")


def draw_plain(document: Mapping[str, Any], *, limit: int = ROWS, near: int = 20, anchor: str = "") -> str:
    """Return a section with at most `limit` rows a table; of a reading, at most `near` that are not members."""
    words = document["words"]
    place = f"<code>{escaped(words['place'])}</code> · " if words["place"] else ""
    said = "".join(f"<p>{escaped(sentence)}</p>" for sentence in words["sentences"])
    facts = "".join(f"<p><b>{escaped(label)}:</b> {escaped(fact)}</p>" for label, fact in words["facts"])
    settings = "".join(
        f"<div><dt>{escaped(name)}</dt><dd>{escaped(value)}</dd></div>" for name, value in words["settings"]
    )
    samples = [samples_table(document, limit, near)] if document["kind"] == "reading" else []
    tables = "".join(draw_table(table, limit=math.inf) for table in samples)
    tables += "".join(draw_table(table, limit=limit) for table in words["tables"].values() if table["rows"])
    notes = "".join(f"<p>{escaped(note)}</p>" for note in words["notes"])
    identity = f' id="{anchor}"' if anchor else ""
    return (
        f'<section class="inversionview plain-view"{identity}><h2>{place}{escaped(words["heading"])}</h2>{said}{facts}'
        f'<dl>{settings}</dl>{tables}<div class="notes">{notes}</div></section>'
    )


def draw_table(table: Mapping[str, Any], *, limit: float = ROWS) -> str:
    """Return a table; where a row has fewer cells than there are columns, its last cell spans what is left."""
    caption, columns, rows = table["caption"], table["columns"], table["rows"]
    names = "".join(f'<th scope="col">{escaped(name)}</th>' for name in columns)
    body = "".join(_row(row, len(columns)) for i, row in enumerate(rows) if i < limit)
    if len(rows) > limit:
        body += _row({"cells": [f"{len(rows) - limit:,} more are not shown."], "kind": "note"}, len(columns))
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escaped(caption)}"><table>'
        f"<caption>{escaped(caption)}</caption><thead><tr>{names}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _row(row: Mapping[str, Any], columns: int) -> str:
    first, *others = row["cells"]
    spans = f' colspan="{columns - len(others)}"' if len(others) + 1 < columns else ""
    named = f'<a href="{escaped(row["link"])}">{escaped(first)}</a>' if row.get("link") else escaped(first)
    cells = f'<th scope="row"{"" if others else spans}>{named}</th>'
    for i, cell in enumerate(others, start=1):
        kind = ' class="n"' if _NUMBER.fullmatch(cell) else ""
        cells += f"<td{kind}{spans if i == len(others) else ''}>{escaped(cell)}</td>"
    return f'<tr class="{escaped(row["kind"].replace(" ", "-"))}">{cells}</tr>'


def samples_table(document: Mapping[str, Any], limit: int, near: int) -> dict[str, Any]:
    """The query, members nearest first, the line at epsilon, near misses, and some of what is outside the domain."""
    samples, features, counts = document["samples"], document["features"], document["counts"]
    order = sorted(range(len(samples)), key=lambda i: _order(samples[i]))
    members = [i for i in order if samples[i]["inside"]][: max(limit, 0)]
    misses = [i for i in order if samples[i]["in_domain"] and not samples[i]["inside"]][: max(near, 0)]
    outside = [i for i in order if not samples[i]["in_domain"]][: max(near, 0) // 4]
    counted, scored = not document["exact"], any(sample["log_prob"] is not None for sample in samples)
    columns = ["distance", "input", "read at", *(feature["name"] for feature in features)]
    columns += ["drawn"] * counted + ["log q"] * scored
    query = document["query"]
    values = [*(feature.get("query", "") for feature in features), *[""] * (counted + scored)]
    rows = [_line(["query", *_text(document, document["query_ids"], query["position"]), *values], "query")]

    def row(i: int, kind: str) -> dict[str, Any]:
        sample = samples[i]
        cells = [format_distance(sample["distance"], document["epsilon"])]
        cells += _text(document, sample["tokens"], sample["position"])
        cells += [document["strings"][feature["values"][i]] for feature in features]
        cells += [f"{sample['count']:,}"] * counted
        cells += ["" if sample["log_prob"] is None else f"{sample['log_prob']:.1f}".replace("-", "−")] * scored
        return _line(cells, kind)

    rows += [row(i, "member") for i in members]
    rows.append(_line([_divider(document, len(members), len(misses))], "divider"))
    rows += [row(i, "miss") for i in misses]
    hidden = counts["in_domain"] - counts["inside"] - len(misses)
    rows += [_line([f"{hidden:,} more outside ε are not shown."], "note")] if hidden > 0 else []
    if outside:
        words = f"{counts['distinct'] - counts['in_domain']:,} candidates; never members, however near"
        rows += [_line([f"Not in the domain: {words}"], "head"), *(row(i, "miss") for i in outside)]
    caption = f"{document['study']}: inputs that the activation at position {query['position']} does not tell apart"
    return {"caption": caption, "columns": columns, "rows": rows}


def _line(cells: list[str], kind: str) -> dict[str, Any]:
    return {"cells": cells, "kind": kind}


def _order(sample: Mapping[str, Any]) -> float:
    return math.inf if sample["distance"] is None else sample["distance"]


def _divider(document: Mapping[str, Any], members: int, misses: int) -> str:
    hidden = document["counts"]["inside"] - members
    words = "members above" if document["counts"]["inside"] else "no member was found"
    words += f" ({hidden:,} more not shown)" if hidden > 0 else ""
    return f"ε = {document['epsilon']:g}: {words}{', near misses below' if misses else ''}"


def _text(document: Mapping[str, Any], tokens: Sequence[int], position: int) -> list[str]:
    """An input around the position read, and the token there with its index; empty where there is none."""
    shown = [document["shown"][token] for token in tokens]
    here = [f"{position}: {shown[position]}"] if 0 <= position < len(tokens) else [""]
    before, after = "".join(shown[: max(position, 0)]), "".join(shown[max(position, 0) :])
    room = CONTEXT[1] + len(here[0])
    if len(before) + len(after) <= sum(CONTEXT):
        return [before + after, *here]
    before = before if len(before) <= CONTEXT[0] else f"…{before[-CONTEXT[0] :]}"
    return [before + (after if len(after) <= room else f"{after[:room]}…"), *here]


def escaped(text: str) -> str:
    """Escape text for HTML, as content or in a quoted attribute."""
    return escape(printable(text), quote=True)
