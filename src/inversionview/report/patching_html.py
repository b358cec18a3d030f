"""Draw effects of patching as HTML: a table for each order, with bars. No script."""

from __future__ import annotations

from inversionview.report.html_page import draw_fragment, draw_page, escaped
from inversionview.report.patching import (
    Effect,
    Patching,
    caption,
    error,
    groups,
    heading,
    label,
    moved,
    notes,
    percent,
    settings,
    signed,
    summary,
)


def render_patching_html(document: Patching, *, title: str) -> str:
    """Return a whole page that shows effects of patching."""
    return draw_page(title, _patching(document), "patching.css")


def render_patching_fragment(document: Patching) -> str:
    """Return effects of patching with their styles, for a notebook: they reach nothing outside it."""
    return draw_fragment(_patching(document), "patching.css")


def _patching(document: Patching) -> str:
    facts = "".join(
        f"<div><dt>{escaped(name)}</dt><dd>{escaped(value)}</dd></div>" for name, value in settings(document)
    )
    tables = "".join(_table(document, order, effects) for order, effects in groups(document))
    said = "".join(f"<p>{escaped(note)}</p>" for note in notes())
    return (
        f'<section class="reading patching"><h2>{escaped(heading(document))}</h2>'
        f'<p class="summary">{escaped(summary(document))}</p><dl>{facts}</dl>'
        f'<div class="scroll" tabindex="0" role="region" aria-label="Effects"><div class="orders">{tables}</div></div>'
        f'<div class="notes">{said}</div></section>'
    )


def _table(document: Patching, order: str, effects: list[Effect]) -> str:
    header = "".join(f'<th scope="col">{name}</th>' for name in ("", "patched", "drop", "moved", ""))
    body = "".join(_row(document, effect, first=i == 0) for i, effect in enumerate(effects))
    said = f"<caption>{escaped(caption(order))}</caption>"
    return f"<table>{said}<thead><tr>{header}</tr></thead><tbody>{body}</tbody></table>"


def _row(document: Patching, effect: Effect, *, first: bool) -> str:
    share = moved(document, effect)
    width = 100 * max(0.0, min(1.0, share or 0.0))
    numbers = (
        signed(effect["patched"]) + error(effect["patched_se"]),
        signed(effect["drop"]) + error(effect["se"]),
        percent(share),
    )
    cells = "".join(f"<td>{escaped(number)}</td>" for number in numbers)
    bar = f'<td class="share"><span><i style="width:{width:.4g}%"></i></span></td>'
    return f'<tr><th scope="row">{escaped(label(effect, first))}</th>{cells}{bar}</tr>'
