"""Pages and notebooks that show a result.

Drawings know results, and not the other way: so who draws is looked up by name, when somebody looks.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any


def page(result: Any) -> str:
    """A self-contained HTML page that shows a result."""
    return str(_drawing().page(result))


def fragment(result: Any) -> str:
    """A result as HTML for a notebook, which reaches nothing outside it."""
    return str(_drawing().fragment(result))


def widget(result: Any) -> dict[str, Any]:
    """What a notebook needs to show a result with scripts, by media type; empty where it shows no widgets."""
    bundle: dict[str, Any] = _drawing().widget(result)
    return bundle


def box(heading: str, rows: Mapping[str, str]) -> str:
    """A heading and what is said of it by name, as HTML for a notebook; a row without words is left out."""
    return str(_drawing().box(heading, rows))


def _drawing() -> Any:
    return import_module("inversionview.report.show")
