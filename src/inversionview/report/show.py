"""Which drawing shows which result; `inversionview.results.show` looks here."""

from __future__ import annotations

from typing import Any

from inversionview.report.page import render_fragment, render_page
from inversionview.report.widget import widget_bundle
from inversionview.report.wire import pack_map


def page(result: Any) -> str:
    """Return a self-contained HTML page that shows a result."""
    return render_page([pack_map(result)], title=f"What {result.study} knows")


def fragment(result: Any) -> str:
    """Return a result as HTML for a notebook."""
    return render_fragment(pack_map(result))


def widget(result: Any) -> dict[str, Any]:
    """Return what a notebook needs to show a result with scripts."""
    return widget_bundle(lambda: pack_map(result))
