"""Draw readings as HTML: a fragment for a notebook, or a whole page. No script, nothing from the network."""

from __future__ import annotations

from collections.abc import Sequence

from inversionview.report import colors
from inversionview.report.html_estimates import draw_estimates, draw_facts
from inversionview.report.html_page import change_class, draw_fragment, draw_page, escaped
from inversionview.report.html_table import GRID_WIDTH, agreement_cells, draw_table
from inversionview.report.reading import Query, Reading, group, headline, settings, source_lines, summary, visible


def render_html(readings: Sequence[Reading], *, title: str) -> str:
    """Return a whole page that shows readings one below the other, with an overview when there are several."""
    body = "".join(_reading(reading, 200, 20, anchor=f"reading-{i}") for i, reading in enumerate(readings, start=1))
    return draw_page(title, (_overview(readings) if len(readings) > 1 else "") + body)


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
