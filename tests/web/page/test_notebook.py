"""Outputs of several kinds on one page, as in a notebook: tables without scripts, and what scripts draw."""

from __future__ import annotations

import json
import re

import pytest

from inversionview.report import bundle
from inversionview.report.page import render_fragment, render_page
from inversionview.report.wire import pack_causal, pack_map, pack_tests
from inversionview.results.hypotheses import HypothesisTests
from tests.report import causal
from tests.report.examples import addition, addition_map, as_map, estimated, hypotheses, pack, text, told

STYLES = """(element) => {
    const PLACE = /^(top|bottom|inset|--)/; // of what the page places, these go by what is above; names of colours
    return [...element.querySelectorAll("section, section *, .widget, .widget *")].map((one) => {
        const style = getComputedStyle(one);
        const names = [...style].filter((name) => !PLACE.test(name));
        const values = names.map((name) => `${name}: ${style.getPropertyValue(name)}`);
        return [one.tagName, one.className, ...values].join("; ");
    });
}"""


def documents():
    reading = addition(draws=30) | {name: estimated()[name] for name in ("size", "bits", "curve", "completeness")}
    tests = pack_tests(HypothesisTests(hypotheses()))
    others = {"tests": tests, "map": pack_map(as_map(addition_map())), "causal": pack_causal(causal.document())}
    return {"reading": pack(reading)} | others


def cell(kind, document, *, scripted):
    """One output of a notebook."""
    if not scripted:
        return f'<div class="cell" id="{kind}-plain">{render_fragment(document)}</div>'
    data = json.dumps(document).replace("<", "\\u003c")
    drawn = f'_drawn.render({{model: {{get: () => ({data})}}, el: document.querySelector("#{kind}-live > div")}});'
    styled = f'<div class="cell" id="{kind}-live"><style>{bundle.styles()}</style><div></div></div>'
    return f"{styled}<script>{drawn}</script>"


def notebook(cells):
    return (
        "<!DOCTYPE html><style>body { margin: 0; font: 14px serif; } .cell { width: 900px; }</style>"
        f"<script>{bundle.script('drawn')}</script>{''.join(cells)}"
    )


@pytest.fixture
def page(browser):
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    yield context.new_page()
    context.close()


def test_outputs_of_different_kinds_do_not_restyle_each_other(page):
    cells = {
        f"{kind}-{'live' if scripted else 'plain'}": cell(kind, document, scripted=scripted)
        for kind, document in documents().items()
        for scripted in (False, True)
    }

    def styles(names):
        page.set_content(notebook([cells[name] for name in names]))
        page.wait_for_timeout(300)  # some is drawn in the next frame
        return {name: page.eval_on_selector(f"#{name}", STYLES) for name in names}

    together = styles(list(cells))
    for name in cells:
        assert len(together[name]) > 15
        alone = styles([name])[name]
        assert len(alone) == len(together[name])
        for one, other in zip(alone, together[name], strict=True):
            assert one == other, name


OUT = """() => {
    const hidden = (element) => element.closest("details:not([open]) > :not(summary)");
    const scrolled = (element, card) => {
        for (let one = element.parentElement; one !== card; one = one.parentElement) {
            if (getComputedStyle(one).overflowX !== "visible") return true;
        }
        return false;
    };
    const out = [];
    for (const card of document.querySelectorAll(".drawn, .plain-view")) {
        const { right } = card.getBoundingClientRect();
        for (const one of card.querySelectorAll("*")) {
            const box = one.getBoundingClientRect();
            const beyond = box.width && box.right > right + 1;
            if (beyond && !hidden(one) && !scrolled(one, card)) out.push([one.tagName, one.className, one.textContent]);
        }
    }
    return [out, document.documentElement.scrollWidth - document.documentElement.clientWidth];
}"""


def long_names():
    reading = told()
    reading["query"]["tokens"] = ["B", *("Alice and Paul were at the station. " * 6).split(" "), "E"]
    reading["bits"] = [
        one | {"name": f"{one['name']} of all that stands before it", "about": ""} for one in reading["bits"]
    ]
    return reading


@pytest.mark.parametrize("width", [1280, 700, 400])
@pytest.mark.parametrize("scripted", [True, False])
def test_a_page_of_several_readings_stays_in_its_cards(page, tmp_path, width, scripted):
    file = tmp_path / "readings.html"
    readings = [told(), told() | {"site": "x1.post"}, long_names(), text(samples=20, length=60)]
    source = render_page([pack(reading) for reading in readings], title="several readings")
    file.write_text(
        source if scripted else re.sub(r"<script.*?</script>", "", source, flags=re.DOTALL), encoding="utf-8"
    )
    page.set_viewport_size({"width": width, "height": 900})
    page.goto(file.as_uri())
    if scripted:
        page.locator(".reading-view").nth(3).wait_for()
        page.wait_for_timeout(200)
    out, wider = page.evaluate(OUT)
    assert out == []
    assert wider <= 0
