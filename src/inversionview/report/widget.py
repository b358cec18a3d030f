"""A packed document in a notebook, drawn by the same modules as the page (the extra `notebook`)."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from inversionview.report import bundle

_WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"


def widget_bundle(make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Return what a notebook needs to show a packed document, by media type; empty where it shows no widgets.

    `make` gives the document. A notebook also keeps the plain tables, for whoever opens it without a kernel.
    """
    if not _in_notebook():
        return {}
    try:
        widget = make_widget(make())
    except ImportError:
        return {}
    shown: dict[str, Any] = widget._repr_mimebundle_()[0]
    return {_WIDGET_VIEW: shown[_WIDGET_VIEW]}


def make_widget(packed: dict[str, Any]) -> Any:
    """Return a widget that shows a packed document. Raises `ImportError` without anywidget."""
    return _widget_class()(document=packed)


@functools.cache
def _widget_class() -> Any:
    import anywidget
    import traitlets

    class Drawn(anywidget.AnyWidget):  # type: ignore[misc, unused-ignore]
        """A document, drawn in the browser."""

        _esm = bundle.module("drawn")
        _css = bundle.styles()
        document = traitlets.Dict().tag(sync=True)

    return Drawn


def _in_notebook() -> bool:
    """Whether a kernel runs us: elsewhere a widget would have nobody to talk to."""
    try:
        from IPython.core.getipython import get_ipython
    except ImportError:
        return False
    return getattr(get_ipython(), "kernel", None) is not None
