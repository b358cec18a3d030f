"""Draw readings as HTML: a fragment for a notebook, or a whole page. No script, nothing from the network."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from importlib.resources import files

from inversionview.report import colors
from inversionview.report.html_table import (
    GRID_WIDTH,
    agreement_cells,
    change_class,
    draw_table,
    escaped,
)
from inversionview.report.reading import Query, Reading, group, headline, settings, source_lines, summary, visible

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


def render_html(readings: Sequence[Reading], *, title: str) -> str:
    """Return a whole page that shows readings one below the other, with an overview when there are several."""
    body = "".join(_reading(reading, 200, 20, anchor=f"reading-{i}") for i, reading in enumerate(readings, start=1))
    overview = _overview(readings) if len(readings) > 1 else ""
    page = (
        "body{margin:0}main{max-width:1120px;margin:0 auto;padding:32px 20px 48px}"
        "h1{margin:0 0 20px;font-size:24px;font-weight:650;letter-spacing:-.01em;overflow-wrap:anywhere}"
        "@media(max-width:640px){main{padding:18px 10px 32px}h1{font-size:20px;margin:0 4px 14px}}"
    )
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{escaped(title)}</title>\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<style>{page}</style>\n<style>{stylesheet()}</style>\n</head>\n"
        f'<body class="inversionview"><main><h1>{escaped(title)}</h1>{overview}{body}</main></body>\n</html>\n'
    )


def render_fragment(reading: Reading, *, limit: int = 200, near: int = 20) -> str:
    """Return one reading with its styles, for a notebook: they reach nothing outside it, and it has no ids to clash.

    At most `limit` members and `near` near misses are shown; the rest is counted.
    """
    return f'<div class="inversionview"><style>{stylesheet()}</style>{_reading(reading, limit, near)}</div>'


@functools.cache
def stylesheet() -> str:
    """Return the styles of readings: the colours of both themes, then the layout."""
    layout = files("inversionview.report").joinpath("reading.css").read_text(encoding="utf-8")
    light, dark = (
        f"{{color-scheme:light;{_variables(colors.LIGHT)}}}",
        f"{{color-scheme:dark;{_variables(colors.DARK)}}}",
    )
    steps = "".join(f".{name}{{background-color:var(--{name})}}" for name in map(change_class, colors.LEVELS) if name)
    return (
        f".inversionview{light}@media (prefers-color-scheme:dark){{.inversionview{dark}}}"
        # a notebook has a theme of its own, whatever the system prefers
        f'[data-jp-theme-light="true"] .inversionview,.vscode-light .inversionview{light}'
        f'[data-jp-theme-light="false"] .inversionview,.vscode-dark .inversionview{dark}\n'
        f"{layout}.inversionview.inversionview.inversionview{{{steps}}}"
    )


def _variables(theme: colors.Theme) -> str:
    named = {name: color for name, color in theme._asdict().items() if name not in ("raised", "lowered")}
    scale = {change_class(step): colors.background(theme, step) for step in colors.LEVELS if step}
    return "".join(f"--{name}:{color};" for name, color in (named | scale).items())


def _reading(reading: Reading, limit: int, near: int, anchor: str = "") -> str:
    query = reading["query"]
    place = f"<code>{escaped(reading['site'])}</code> at <code>{escaped(visible(query['at']))}</code>"
    facts = "".join(
        f"<div><dt>{escaped(name)}</dt><dd>{escaped(value)}</dd></div>" for name, value in settings(reading)
    )
    identity = f' id="{anchor}"' if anchor else ""
    return (
        f'<section class="reading"{identity}>'
        f'<p class="place">{escaped(reading["study"])} · position {query["position"]}</p>'
        f'<h2>{place} · {escaped(headline(reading))}</h2><p class="summary">{escaped(summary(reading))}</p>'
        f"<dl>{facts}</dl>{_legend(reading)}"
        f'<div class="scroll" tabindex="0" role="region" aria-label="Samples">{draw_table(reading, limit, near)}</div>'
        f"{_sources(reading)}</section>"
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
        cells = agreement_cells(query, group(reading).members) if short else ""
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
