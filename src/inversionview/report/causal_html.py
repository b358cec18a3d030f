"""Draw as HTML whether what an activation encodes is used. No script."""

from __future__ import annotations

from inversionview.report.causal import (
    FEATURE_COLUMNS,
    GROUP_COLUMNS,
    Causal,
    FeatureRow,
    abstained,
    answer,
    feature_rows,
    group_rows,
    heading,
    notes,
    settings,
)
from inversionview.report.html_page import draw_fragment, draw_page, escaped


def render_causal_html(document: Causal, *, title: str) -> str:
    """Return a whole page that shows what was found."""
    return draw_page(title, _causal(document), "causal.css")


def render_causal_fragment(document: Causal) -> str:
    """Return what was found with its styles, for a notebook: they reach nothing outside it."""
    return draw_fragment(_causal(document), "causal.css")


def _causal(document: Causal) -> str:
    facts = "".join(
        f"<div><dt>{escaped(name)}</dt><dd>{escaped(value)}</dd></div>" for name, value in settings(document)
    )
    groups = "".join(_row(row, GROUP_COLUMNS) for row in group_rows(document))
    features = "".join(_feature(row) for row in feature_rows(document))
    tables = _table("What activations of other inputs do to the output", GROUP_COLUMNS, groups)
    if features:
        columns = (*FEATURE_COLUMNS[:-1], "saves", FEATURE_COLUMNS[-1])
        tables += _table("Features: encoded, and used", columns, features)
    said = "".join(f"<p>{escaped(words)}</p>" for words in (*abstained(document), *notes(document)))
    return (
        f'<section class="reading causal"><h2>{escaped(heading(document))}</h2>'
        f'<p class="summary">{escaped(answer(document))}</p><dl>{facts}</dl>{tables}'
        f'<div class="notes">{said}</div></section>'
    )


def _table(caption: str, columns: tuple[str, ...], body: str) -> str:
    header = "".join(f'<th scope="col">{escaped(name)}</th>' for name in columns)
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escaped(caption)}"><table>'
        f"<caption>{escaped(caption)}</caption><thead><tr>{header}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _row(cells: tuple[str, ...], columns: tuple[str, ...], kind: str = "") -> str:
    first, *others = zip(cells, columns, strict=True)
    rest = "".join(f"<td>{escaped(cell)}</td>" for cell, _ in others)
    return f'<tr class="{kind}"><th scope="row">{escaped(first[0])}</th>{rest}</tr>'


def _feature(row: FeatureRow) -> str:
    name, *numbers, verdict = row.cells
    cells = "".join(f"<td>{escaped(number)}</td>" for number in numbers)
    bar = f'<td class="share"><span><i style="width:{100 * row.saved:.4g}%"></i></span></td>'
    return (
        f'<tr class="{row.verdict.replace(" ", "-")}"><th scope="row">{escaped(name)}</th>{cells}{bar}'
        f'<td class="verdict">{escaped(verdict)}</td></tr>'
    )
