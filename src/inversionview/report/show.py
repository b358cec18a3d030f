"""Which drawing shows which result; `inversionview.results.show` looks here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from inversionview.report.page import render_box, render_fragment, render_page
from inversionview.report.widget import widget_bundle
from inversionview.report.wire import (
    MOST_TOKENS,
    SHOWN_FIRST,
    pack_causal,
    pack_explanations,
    pack_map,
    pack_patching,
    pack_reading,
    pack_tests,
)
from inversionview.results.explanations import SiteExplanations
from inversionview.results.hypotheses import HypothesisTests
from inversionview.results.map import Map
from inversionview.results.patching import Patching
from inversionview.results.preimage import Preimage
from inversionview.results.use import Use

Shown = Map | Preimage | Use | Patching | HypothesisTests | SiteExplanations


def page(result: Shown) -> str:
    """Return a self-contained HTML page that shows a result."""
    return render_page([_packed(result, MOST_TOKENS, SHOWN_FIRST)], title=_title(result))


def fragment(result: Shown) -> str:
    """Return a result as HTML for a notebook."""
    return render_fragment(_packed(result, MOST_TOKENS, 0))  # which has no colours


def widget(result: Shown) -> dict[str, Any]:
    """Return what a notebook needs to show a result with scripts."""
    return widget_bundle(lambda: _packed(result, None, SHOWN_FIRST))


def box(heading: str, rows: Mapping[str, str]) -> str:
    """Return a heading and what is said of it by name as HTML for a notebook."""
    return render_box(heading, rows)


def _packed(result: Shown, most_tokens: int | None, most_colored: int) -> dict[str, Any]:
    if isinstance(result, Map):
        return pack_map(result)
    if isinstance(result, Use):
        return pack_causal(result)
    if isinstance(result, Patching):
        return pack_patching(result)
    if isinstance(result, HypothesisTests):
        return pack_tests(result)
    if isinstance(result, SiteExplanations):
        return pack_explanations(result)
    return pack_reading(result.to_reading(), most_tokens=most_tokens, most_colored=most_colored)


def _title(result: Shown) -> str:
    if isinstance(result, Map):
        return f"What {result.study} knows"
    if isinstance(result, Patching):
        return "What patching does"
    if isinstance(result, Use):
        return f"{result.input} at {result.at}, {result.site}"
    if isinstance(result, HypothesisTests):
        return "Does it hold for the members?"
    if isinstance(result, SiteExplanations):
        return f"What {result.study} says in words"
    return str(result.query)
