"""Readings and maps in a notebook."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

from inversionview.report import widget
from inversionview.report.wire import pack_map
from tests.report.examples import addition, addition_map, as_map, pack

VIEW = "application/vnd.jupyter.widget-view+json"


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if a kernel of Jupyter ran us."""
    pytest.importorskip("anywidget", reason="the widget needs anywidget: install the extra notebook")
    monkeypatch.setattr("IPython.core.getipython.get_ipython", lambda: SimpleNamespace(kernel=object()))


def test_a_notebook_gets_a_widget_that_holds_the_document(kernel: None) -> None:
    packed = pack(addition(draws=20))
    made = widget.make_widget(packed)
    assert made.document == packed
    assert made.document["kind"] == "reading"
    assert "_drawn" in made._esm
    shown = widget.widget_bundle(lambda: packed)
    assert list(shown) == [VIEW]
    assert shown[VIEW]["model_id"]


def test_without_a_kernel_nothing_is_made() -> None:
    assert widget.widget_bundle(lambda: pytest.fail("nobody asked")) == {}


def test_without_anywidget_the_table_has_to_do(kernel: None, monkeypatch: pytest.MonkeyPatch) -> None:
    widget._widget_class.cache_clear()
    monkeypatch.setitem(sys.modules, "anywidget", None)
    assert widget.widget_bundle(lambda: pack(addition(draws=3))) == {}
    monkeypatch.undo()
    widget._widget_class.cache_clear()


def test_a_map_is_a_document_that_draws_itself(kernel: None) -> None:
    drawn = as_map(addition_map())
    assert drawn.to_dict() == {**addition_map(), "estimator": "entropy difference"}
    assert "what each activation knows" in drawn._repr_html_()
    assert drawn.to_html().startswith("<!DOCTYPE html>")
    assert VIEW in drawn._repr_mimebundle_()
    assert widget.make_widget(pack_map(as_map(addition_map()))).document["kind"] == "map"


def test_a_notebook_keeps_the_table_beside_the_widget(kernel: None) -> None:
    from IPython.core.formatters import DisplayFormatter

    shown, _ = DisplayFormatter().format(as_map(addition_map()))
    assert {VIEW, "text/html"} <= set(shown)
