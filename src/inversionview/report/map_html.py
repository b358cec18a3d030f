"""Draw a map as HTML: a cell shows the feature it knows best, and opens to show them all. No script."""

from __future__ import annotations

from inversionview.report import colors
from inversionview.report.html_page import change_class, draw_fragment, draw_page, escaped
from inversionview.report.map import heading, mark, marks, notes, place, rows
from inversionview.report.reading import visible
from inversionview.results.map import Cell, CellBits, Map

_FITS = 14
"""Named positions that stand side by side on a page."""


def render_map_html(document: Map, *, title: str) -> str:
    """Return a whole page that shows a map."""
    return draw_page(title, _map(document), "map.css")


def render_map_fragment(document: Map) -> str:
    """Return a map with its styles, for a notebook: they reach nothing outside it, and it has no ids to clash."""
    return draw_fragment(_map(document), "map.css")


def _map(document: Map) -> str:
    header = "".join(f'<th scope="col">{escaped(visible(at))}</th>' for at in document.ats)
    body = ""
    for i, (site, cells) in enumerate(rows(document)):
        # panels open towards the middle, so that they stay on the page
        up = " up" if 2 * i >= len(document.sites) else ""
        drawn = "".join(_cell(cell, up, 2 * j >= len(cells)) for j, cell in enumerate(cells))
        body += f'<tr><th scope="row">{escaped(site)}</th>{drawn}</tr>'
    fits = " fits" if len(document.ats) <= _FITS else ""
    said = "".join(f"<p>{escaped(note)}</p>" for note in notes(document))
    return (
        f'<section class="reading map"><h2>{escaped(heading(document))}</h2>'
        f'<div class="scroll{fits}"><table class="heat"><caption>Sites by named positions; open a cell for all its '
        f"numbers</caption><thead><tr><th></th>{header}</tr></thead><tbody>{body}</tbody></table></div>"
        f'{_legend()}<div class="notes">{said}</div></section>'
    )


def _cell(cell: Cell | None, up: str, left: bool) -> str:
    if cell is None:
        return "<td></td>"
    best = cell.best
    step, face, title = 0, '<b class="none">·</b>', f"{escaped(place(cell))}: little"
    if cell.why_not is not None:
        face, title = '<b class="none">?</b>', f"{escaped(place(cell))}: too few members"
    if best is not None:
        feature = cell.bits[best]
        step = colors.level(feature.share)
        others = escaped(", ".join(name for name in cell.knows if name != best))
        face = (
            f"<b>{escaped(best)}</b><span>{feature.bits:.1f} <i>{mark(feature.share)}</i></span>"
            f"{f'<small>{others}</small>' if others else ''}"
        )
        title = f"{escaped(place(cell))}: {escaped(best)}, {_of(feature)}"
    panel = f'<div class="panel{up}{" left" if left else ""}">{_panel(cell)}</div>'
    # one name for all: opening a cell closes the other
    return (
        f'<td class="{" ".join(filter(None, ("cell", change_class(step))))}"><details name="inversionview-map">'
        f'<summary title="{title}">{face}</summary>{panel}</details></td>'
    )


def _panel(cell: Cell) -> str:
    queries = cell.queries
    size = cell.log2_domain_over_preimage
    if size is None:
        return f"<p><strong>{escaped(place(cell))}</strong><br>{escaped(cell.why_not or 'not known')}</p>"
    whole = f"{_signed(size)}{_error(cell.se)} bits about the whole input"
    made = f"mean over {queries:,} queries" if queries > 1 else "one query"
    own = f", ε = {cell.epsilon:.4g}" if cell.epsilon is not None else ""
    names = ("feature", "bits", "of", "share", "KL")
    header = "".join(f'<th scope="col">{name}</th>' for name in names)
    ordered = sorted(cell.bits.items(), key=lambda item: -item[1].bits)
    body = "".join(_feature(name, feature, name in cell.knows) for name, feature in ordered)
    return (
        f"<p><strong>{escaped(place(cell))}</strong><br>{escaped(whole)}<br>{escaped(made + own)}</p>"
        f"<table><thead><tr>{header}</tr></thead><tbody>{body}</tbody></table>"
    )


def _feature(name: str, feature: CellBits, known: bool) -> str:
    bits = f"{_signed(feature.bits)}{_error(feature.se)}"
    cells = (bits, f"{feature.of:.2f}", f"{feature.share:.0%}", f"{feature.divergence:.2f}")
    kind = ' class="known"' if known else ""
    return f'<tr{kind}><th scope="row">{escaped(name)}</th>{"".join(f"<td>{cell}</td>" for cell in cells)}</tr>'


def _legend() -> str:
    ramp = "".join(f'<i class="{change_class(step)}"></i>' for step in colors.LEVELS if step >= 0)
    signs = "".join(f'<span class="scale"><b>{sign}</b> {escaped(words)}</span>' for sign, _, words in marks())
    scale = f'<span class="scale">0% <span class="ramp" aria-hidden="true">{ramp}</span> 100% of the entropy</span>'
    return f'<div class="legend">{scale}{signs}</div>'


def _of(feature: CellBits) -> str:
    return f"{_signed(feature.bits)} of {feature.of:.2f} bits ({feature.share:.0%})"


def _error(se: float | None) -> str:
    return "" if se is None else f" ± {se:.2f}" if se >= 0.005 else f" ± {se:.1g}"


def _signed(bits: float) -> str:
    return f"{bits:.2f}".replace("-", "−")
