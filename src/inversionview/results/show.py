"""Pages and notebooks that show a result.

Drawings know results, and not the other way: so who draws is looked up by name, when somebody looks.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any


class Drawn:
    """A result that draws itself: as a page, and as the last line of a notebook's cell."""

    def to_html(self) -> str:
        """A self-contained HTML page that shows it."""
        return page(self)

    def _repr_html_(self) -> str:
        return fragment(self)

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, Any]:
        bundle: dict[str, Any] = _drawing().widget(self)  # empty where a notebook shows no widgets
        return bundle


def page(result: object) -> str:
    """A self-contained HTML page that shows a result."""
    return str(_drawing().page(result))


def fragment(result: object) -> str:
    """A result as HTML for a notebook, drawn without scripts."""
    return str(_drawing().fragment(result))


def box(heading: str, rows: Mapping[str, str]) -> str:
    """A heading and what is said of it by name, as HTML for a notebook; a row without words is left out."""
    return str(_drawing().box(heading, rows))


def _drawing() -> Any:
    return import_module("inversionview.report.show")
