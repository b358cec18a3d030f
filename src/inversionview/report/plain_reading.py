"""A packed reading as plain HTML, for where no script runs: what it says, in the order in which it is said everywhere.

It stays small, because a notebook keeps it in its file: twelve typical rows stand for the members, of whom the scripted
form has more, with colours, sources and other ε. It reads as well where a notebook takes the styles away.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from inversionview.report.folding import excerpt
from inversionview.report.plain import definitions, draw_table, escaped, facts_of, notes_of
from inversionview.report.reading import format_distance

ROWS = 12
"""Typical members."""
BITS = 18
"""Features with their bits; the rest is counted."""
ROOM = 96
"""Characters of an input."""
_EXAMPLES, _EXAMPLE = 2, 48
"""Examples of a pattern, and the characters of each."""
_BAR = 10
_LABELS = (("KNOWS", "knows"), ("PARTLY", "partly"), ("A LITTLE", "little"))


def draw_reading(document: Mapping[str, Any], *, anchor: str = "") -> str:
    """Return a section that says what a reading says, answer first; what it was found with is behind a disclosure."""
    answer = document["words"]["answer"]
    identity = f' id="{anchor}"' if anchor else ""
    words = f'<p class="in-words"><b>IN WORDS</b> {escaped(answer["in_words"])}</p>' if answer["in_words"] else ""
    trust = f'<p class="trust"><b>TRUST</b> {escaped(answer["trust"])}</p>' if answer["trust"] else ""
    parts = [
        f"<h2>{escaped(answer['head'])}</h2>",
        f'<p class="about">{escaped(answer["about"])}</p>',
        f'<p class="sentence">{escaped(answer["sentence"])}</p>',
        words,
        *_knowledge(answer),
        *_members(answer),
        *_rows(document),
        *_misses(document),
        trust,
        *_bits(document),
        *_details(document),
    ]
    return f'<section class="inversionview plain-view reading"{identity}>{"".join(parts)}</section>'


def _knowledge(answer: Mapping[str, Any]) -> Iterator[str]:
    rows = [
        _row([label if i == 0 else "", line["text"], line["share_words"], _bar(line["share"]), line["detail"]])
        for label, name in _LABELS
        for i, line in enumerate(answer[name])
    ]
    if answer["nothing"]:
        rows.append(_row(["NOT", answer["nothing"]]))
    if rows:
        table = {"caption": "What it knows", "columns": ["", "feature", "share", "", "bits"], "rows": rows}
        yield draw_table(table, kind="answer")


def _members(answer: Mapping[str, Any]) -> Iterator[str]:
    yield f'<p class="members"><b>MEMBERS</b> {escaped(answer["members"])}</p>'
    rows = [
        _row([line["share_words"], line["words"], "; ".join(_cut(words) for words in line["examples"][:_EXAMPLES])])
        for line in answer["patterns"]
    ]
    if rows:
        yield draw_table({"caption": "Patterns", "columns": ["share", "pattern", "such as"], "rows": rows})
    elif answer["no_pattern"]:
        yield f"<p>{escaped(answer['no_pattern'])}</p>"


def _rows(document: Mapping[str, Any]) -> Iterator[str]:
    """The query, then typical members with the values of their features."""
    samples, features, query = document["samples"], document["features"], document["query"]
    anywhere = document["position_rule"] == "any"
    shown = document["typical"][:ROWS]
    if not shown:
        return
    rows = []
    if query["tokens"]:
        values = [feature.get("query", "") for feature in features]
        rows.append(
            _row([_text(document, document["query_ids"], query["position"], anywhere), *values, "query"], "query")
        )
    for i in shown:
        sample = samples[i]
        values = [document["strings"][feature["values"][i]] for feature in features]
        text = _text(document, sample["tokens"], sample["position"], anywhere)
        rows.append(_row([text, *values, format_distance(sample["distance"], document["epsilon"])], "member"))
    more = document["counts"]["inside"] - len(shown)
    caption = f"Rows, {document['words']['answer']['rows']}{f'; {more:,} more' if more > 0 else ''}"
    columns = ["input", *(feature["name"] for feature in features), "distance"]
    yield draw_table({"caption": caption, "columns": columns, "rows": rows}, kind="rows")


def _misses(document: Mapping[str, Any]) -> Iterator[str]:
    anywhere, rows = document["position_rule"] == "any", []
    for miss in document["words"]["answer"]["misses"]:
        sample = document["samples"][miss["sample"]]
        text = _text(document, sample["tokens"], sample["position"], anywhere)
        rows.append(_row([text, miss["distance_words"], miss["differs"]], "miss"))
    if rows:
        columns = ["input", "distance", "differs in" if any(row["cells"][2] for row in rows) else ""]
        caption = f"Near misses, beyond ε = {document['epsilon']:g}"
        yield draw_table({"caption": caption, "columns": columns, "rows": rows}, kind="rows")


def _bits(document: Mapping[str, Any]) -> Iterator[str]:
    table = document["words"]["tables"]["bits"]
    if table["rows"]:
        yield draw_table(table, limit=BITS)


def _details(document: Mapping[str, Any]) -> Iterator[str]:
    words = document["words"]
    tables = [table for name, table in words["tables"].items() if name != "bits" and table["rows"]]
    said = [facts_of(words), definitions(words["settings"]), *map(draw_table, tables), notes_of(words)]
    yield f"<details><summary>How it was found</summary>{''.join(said)}</details>"


def _text(document: Mapping[str, Any], ids: Sequence[int], position: int, anywhere: bool) -> str:
    """An input around the position read; where each has a position of its own, behind it."""
    tokens = [document["strings"][i] for i in ids]
    text = excerpt(tokens[1:-1], position - 1, ROOM)
    return f"{text} (at {position})" if anywhere and 0 < position < len(tokens) else text


def _cut(text: str) -> str:
    words = [word if i == 0 else f" {word}" for i, word in enumerate(text.split(" "))]
    return excerpt(words, -1, _EXAMPLE)


def _bar(share: float | None) -> str:
    return "" if share is None else "█" * round(_BAR * share)


def _row(cells: list[str], kind: str = "") -> dict[str, Any]:
    return {"cells": cells, "kind": kind}
