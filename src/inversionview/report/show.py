"""Which drawing shows which result; `inversionview.results.show` looks here."""

from __future__ import annotations

from typing import Any

from inversionview.report.map_html import render_map_fragment, render_map_html
from inversionview.report.widget import widget_bundle
from inversionview.report.wire import pack_map


def page(result: Any) -> str:
    """Return a self-contained HTML page that shows a result."""
    return render_map_html(result, title=f"What {result.study} knows")


def fragment(result: Any) -> str:
    """Return a result as HTML for a notebook."""
    return render_map_fragment(result)


def widget(result: Any) -> dict[str, Any]:
    """Return what a notebook needs to show a result with scripts."""
    return widget_bundle("map", lambda: pack_map(result))
