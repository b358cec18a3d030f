"""Draw readings as HTML: a fragment for a notebook, or a whole page. Nothing from the network.

A page holds each reading twice: as a table, for readers without scripts, and as data, from which the modules of
`static` draw what answers: a slider for epsilon, columns, distances at every token. The one script is named by its hash
in the page's content security policy, so that nothing else runs.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence

from inversionview.report import bundle, colors
from inversionview.report.html_estimates import draw_estimates, draw_facts
from inversionview.report.html_page import change_class, draw_fragment, draw_page, escaped
from inversionview.report.html_table import GRID_WIDTH, agreement_cells, draw_table
from inversionview.report.reading import (
    FeatureColumn,
    Query,
    Reading,
    Sample,
    group,
    headline,
    settings,
    source_lines,
    summary,
    visible,
)
from inversionview.report.wire import pack_reading

_ROOM = 30_000
"""Tokens of the samples that a page holds for its script."""


def render_html(readings: Sequence[Reading], *, title: str) -> str:
    """Return a whole page that shows readings one below the other, with an overview when there are several."""
    body = "".join(
        _reading(reading, 200, 20, anchor=f"reading-{i}") + _data(reading)
        for i, reading in enumerate(readings, start=1)
    )
    overview = _overview(readings) if len(readings) > 1 else ""
    styles = f"<style>{bundle.layout()}</style>"
    return draw_page(title, styles + overview + body, script=f"{bundle.script('report')}\n_report.start();")


def render_fragment(reading: Reading, *, limit: int = 200, near: int = 20) -> str:
    """Return one reading with its styles, for a notebook: they reach nothing outside it, and it has no ids to clash.

    At most `limit` members and `near` near misses are shown; the rest is counted.
    """
    return draw_fragment(_reading(reading, limit, near))


def _reading(reading: Reading, limit: int, near: int, anchor: str = "") -> str:
    query = reading["query"]
    place = f"<code>{escaped(reading['site'])}</code> at <code>{escaped(visible(query['at']))}</code>"
    made_with = "".join(
        f"<div><dt>{escaped(name)}</dt><dd>{escaped(value)}</dd></div>" for name, value in settings(reading)
    )
    identity = f' id="{anchor}"' if anchor else ""
    return (
        f'<section class="reading"{identity}>'
        f'<p class="place">{escaped(reading["study"])} · position {query["position"]}</p>'
        f'<h2>{place} · {escaped(headline(reading))}</h2><p class="summary">{escaped(summary(reading))}</p>'
        f"{draw_facts(reading)}<dl>{made_with}</dl>{_legend(reading)}"
        f'<div class="scroll" tabindex="0" role="region" aria-label="Samples">{draw_table(reading, limit, near)}</div>'
        f"{draw_estimates(reading)}{_sources(reading)}</section>"
    )


def _data(reading: Reading) -> str:
    """The reading for the script: the nearest candidates, as many as there is room for."""
    longest = max((len(sample["tokens"]) for sample in reading["samples"]), default=1)
    kept = sorted(range(len(reading["samples"])), key=lambda i: _order(reading["samples"][i]))[: _ROOM // longest]
    columns: list[FeatureColumn] = [
        {**column, "values": [column["values"][i] for i in kept]} for column in reading.get("features", [])
    ]
    shown: Reading = {**reading, "samples": [reading["samples"][i] for i in kept], "features": columns}
    data = json.dumps(pack_reading(shown), separators=(",", ":")).replace("<", "\\u003c")
    return f'<script type="application/json" class="reading-data">{data}</script>'


def _order(sample: Sample) -> float:
    return math.inf if sample["distance"] is None else sample["distance"]


def _legend(reading: Reading) -> str:
    colored = any(sample["colors"] for sample in reading["samples"])
    ramp = "".join(f'<i class="{change_class(step)}"></i>' for step in colors.LEVELS)
    scale = (
        f'<span class="scale">lowered <span class="ramp" aria-hidden="true">{ramp}</span> raised</span>'
        if colored
        else ""
    )
    about = (
        f'<span class="about">{escaped(reading["colors_about"])}</span>' if colored and reading["colors_about"] else ""
    )
    return (
        f'<div class="legend">{scale}<span class="scale"><span class="t at">▾</span> position read</span>{about}</div>'
    )


def _sources(reading: Reading) -> str:
    lines = source_lines(reading)
    if not lines:
        return ""
    rows = "".join(
        f'<tr><th scope="row">{escaped(name)}</th><td>{escaped(words)}</td>'
        f'<td class="share"><span><i style="width:{100 * rate:.4g}%"></i></span></td></tr>'
        for name, words, rate in lines
    )
    return f'<div class="scroll sources"><table><tbody>{rows}</tbody></table></div>'


def _overview(readings: Sequence[Reading]) -> str:
    rows, previous = "", None
    for i, reading in enumerate(readings, start=1):
        query = reading["query"]
        short = len(query["tokens"]) <= GRID_WIDTH // 3
        if short and query != previous:
            rows += f'<tr class="query"><th></th>{_overview_tokens(query)}</tr>'
        previous = query
        link = f'<a href="#reading-{i}">{escaped(reading["site"])}</a> at {escaped(visible(query["at"]))}'
        blank = '<td class="s"></td>' * len(query["tokens"])
        cells = (agreement_cells(reading, group(reading).members) or blank) if short else ""
        rows += f'<tr><th scope="row">{link}</th>{cells}<td class="x">{escaped(headline(reading))}</td></tr>'
    return (
        '<nav class="overview" aria-label="Readings"><h2>What the members share with the query</h2>'
        f'<div class="scroll" tabindex="0"><table><tbody>{rows}</tbody></table></div></nav>'
    )


def _overview_tokens(query: Query) -> str:
    return "".join(
        f'<td class="t{" at" if i == query["position"] else ""}">{escaped(visible(token))}</td>'
        for i, token in enumerate(query["tokens"])
    )
