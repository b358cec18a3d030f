"""What the modules draw of documents, whoever sends them: made-up readings, mounted in a page of the server's."""

from __future__ import annotations

import copy
import json

import pytest

from inversionview.report import bundle
from inversionview.report.html import render_html
from inversionview.report.reading import printable, visible
from inversionview.report.wire import pack_map, pack_reading
from tests.report.examples import addition, addition_map, as_map, estimated, exact, text

HOSTILE = [
    "", " ", "  ", "\n", "\r\n", "\t", "\U0001f642", "\U0001f469\u200d\U0001f467", "\u200d", "&amp;", "</td>",
    "<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "\u202eabc", "\u200b", "\u00a0", "\ufeff", "\x00",
    "\x1b[31m", "\u0301", "e\u0301", "\ud83d", "a b", "\u2028", "ﬁ", "ا", "中文", "\U000e0001", "\ue000", "_", "·",
    "\x7f", "\u0903",
]  # fmt: skip
"""Tokens in which something is hidden, or that look like markup."""
MOUNT = """async ([name, document, options]) => {
    const module = await import(`/static/report/${name}.js`);
    const root = window.document.createElement("div");
    root.className = "live";
    window.document.body.replaceChildren(root);
    const mount = Object.keys(module).find((key) => key.startsWith("mount"));
    window.drawn = module[mount](root, document, options);
}"""


@pytest.fixture
def drawing(tab):
    """A page of the server's on which a document can be drawn."""
    tab.page.goto(f"{tab.address}/#study=tiny")
    tab.read()

    def draw(name, document, **options):
        tab.page.evaluate(MOUNT, [name, json.loads(json.dumps(document)), options])
        return tab.page

    return draw


def hostile():
    reading = addition(draws=60)
    for i, sample in enumerate(reading["samples"]):
        sample["tokens"] = [*(HOSTILE[(i + k) % len(HOSTILE)] for k in range(13)), "E"]
    reading["query"] = {"tokens": [*HOSTILE[:13], "E"], "position": 8, "at": "<s>"}
    reading["study"] = reading["site"] = reading["colors_about"] = "<b onmouseover=alert(1)>&"
    reading["features"][0]["name"] = "<i>'\""
    return reading


def test_two_languages_make_hidden_things_visible_alike(drawing):
    page = drawing("reading", pack_reading(addition(draws=5)))
    for rule, name in ((visible, "visible"), (printable, "printable")):
        shown = page.evaluate(
            f"async (list) => {{ const m = await import('/static/report/words.js'); return list.map(m.{name}); }}",
            HOSTILE,
        )
        assert shown == [rule(token) for token in HOSTILE]


def test_tokens_are_text_whatever_they_hold(drawing):
    page = drawing("reading", pack_reading(hostile()))
    query, shown = hostile()["query"]["tokens"], page.locator(".row.query .tok").all_text_contents()
    assert len(shown) > 5
    assert " ".join(shown) in " ".join(map(visible, query))
    page.click(".row.sample >> nth=0")
    nearest = min(hostile()["samples"], key=lambda sample: (not sample["in_domain"], sample["distance"]))
    whole = page.locator(".detail .column .tok").all_text_contents()
    assert whole == [visible(token) for token in nearest["tokens"]]
    assert page.locator(".reading-view :is(script, img, b[onmouseover])").count() == 0
    assert "<b onmouseover=alert(1)>&" in page.inner_text(".reading-head")


def test_a_thousand_members_of_512_tokens_scroll_without_stutter(drawing):
    packed = json.loads(json.dumps(pack_reading(text(samples=20, length=512))))
    page = drawing("reading", packed)
    page.evaluate(
        """async (packed) => {
        const { mountReading } = await import("/static/report/reading.js");
        const samples = Array.from({ length: 1000 }, (_, i) => ({
            ...packed.samples[i % 20], distance: i / 4000, token_distances: new Array(512).fill(0.5),
        }));
        const root = document.createElement("div");
        root.className = "live";
        document.body.replaceChildren(root);
        mountReading(root, { ...packed, samples, counts: { ...packed.counts, inside: 801 } });
    }""",
        packed,
    )
    rows = page.locator(".table .rows > .row")
    assert rows.count() < 60
    assert page.evaluate("document.querySelectorAll('*').length") < 4000
    assert int(page.get_attribute(".table", "aria-rowcount")) == 1003
    passed = page.evaluate("""async () => {
        const table = document.querySelector(".table");
        const most = [];
        for (let i = 0; i < 30; i += 1) {
            table.scrollTop = (i * table.scrollHeight) / 30;
            await new Promise(requestAnimationFrame);
            await new Promise(requestAnimationFrame);
            const box = table.getBoundingClientRect();
            const seen = document.elementFromPoint(box.left + 120, box.top + box.height / 2);
            most.push([document.querySelectorAll(".table .row").length, Boolean(seen.closest(".row"))]);
        }
        return most;
    }""")
    assert max(count for count, _ in passed) < 70
    assert all(seen for _, seen in passed), "there is a row wherever one has scrolled to"
    page.click(".row.sample >> nth=5")
    assert page.locator(".detail .running .tok").count() == 512


@pytest.mark.parametrize("reading", [addition(), estimated(), exact(), text(length=60, samples=8)])
def test_every_kind_of_reading_is_drawn(drawing, reading):
    page = drawing("reading", pack_reading(reading))
    headline = page.inner_text(".reading-head h2")
    assert headline.endswith(f"inside ε = {reading['epsilon']:g}")
    assert f"{reading['counts']['inside']:,} input" in headline
    assert page.locator(".row.divider").count() + page.locator(".row.member").count() > 0


def test_members_near_misses_and_what_is_outside_come_in_this_order(drawing):
    reading = addition(draws=200)
    page = drawing("reading", pack_reading(reading))
    kinds = page.evaluate("""async ([packed]) => {
        const { itemsOf } = await import("/static/report/members.js");
        const { cut } = await import("/static/report/cut.js");
        const { unpack } = await import("/static/report/wire.js");
        const reading = unpack(packed);
        const groups = cut(reading, reading.epsilon);
        const items = itemsOf(reading, { groups, inside: reading.counts.inside, epsilon: reading.epsilon });
        return items.map((item) => item.kind);
    }""", [json.loads(json.dumps(pack_reading(reading)))])  # fmt: skip
    members = [sample for sample in reading["samples"] if sample["inside"]]
    assert kinds[: len(members)] == ["member"] * len(members)
    assert kinds[len(members)] == "divider"
    assert list(dict.fromkeys(kinds)) == ["member", "divider", "miss", "between", "miss outside"]


@pytest.mark.parametrize("epsilon", [0.02, 0.05, 0.1, 0.3])
def test_the_cut_is_what_another_epsilon_gives(drawing, epsilon):
    reading = addition(draws=300)
    page = drawing("reading", pack_reading(reading), epsilon=epsilon)
    inside = sum(s["in_domain"] and s["distance"] <= epsilon for s in reading["samples"])
    assert f"· {inside:,} input" in page.inner_text(".reading-head h2")


def test_no_members_and_samples_without_a_place_are_drawn(drawing):
    reading = addition(draws=30)
    for sample in reading["samples"]:
        sample |= {"inside": False, "distance": None, "in_domain": False, "token_distances": None, "colors": None}
    reading["counts"]["inside"] = 0
    page = drawing("reading", pack_reading(reading))
    assert "no member was found" in page.inner_text(".row.divider")
    assert page.locator(".row.miss .number").first.inner_text() == "–"


def test_rows_are_sorted_by_a_column_and_back(drawing):
    reading = addition(draws=200)
    page = drawing("reading", pack_reading(reading))
    name = reading["features"][0]["name"]
    page.click(f".labels button[title='sort by {name}']")
    page.wait_for_selector(".labels [aria-sort='ascending'] button[title^='sort by F']")
    values = page.locator(".row.member .feature").all_inner_texts()[:20]
    assert values == sorted(values)
    page.click(".labels button[title='sort by distance']")
    page.wait_for_selector(".labels .number[aria-sort='ascending']")


def test_a_saved_page_answers_without_a_server(tab, tmp_path):
    reading = estimated()
    file = tmp_path / "reading.html"
    file.write_text(render_html([reading, addition(site="x1.post")], title="two readings"), encoding="utf-8")
    page = tab.page
    page.goto(file.as_uri())
    assert page.locator(".reading-view").count() == 2
    assert page.locator("table.grid").count() == 0, "the table that needs no script has made room"
    page.locator(".epsilon-range").first.focus()
    page.keyboard.press("Home")
    page.wait_for_selector(".stale:not(:empty)")
    page.click("nav a >> nth=1")
    assert page.url.endswith("#reading-2")


@pytest.mark.parametrize("tab", [{"java_script_enabled": False}], indirect=True)
def test_a_saved_page_is_read_without_scripts(tab, tmp_path):
    file = tmp_path / "reading.html"
    file.write_text(render_html([addition()], title="t"), encoding="utf-8")
    tab.page.goto(file.as_uri())
    assert tab.page.locator("tr.sample").count() > 20
    assert tab.page.locator(".reading-view").count() == 0


@pytest.mark.parametrize(
    ("kind", "packed"), [("reading", pack_reading(addition())), ("map", pack_map(as_map(addition_map())))]
)
def test_a_notebook_draws_the_same(tab, kind, packed):
    page = tab.page
    page.goto("about:blank")
    page.set_content("<div id=cell></div>")
    page.add_style_tag(content=bundle.styles())
    shown = page.evaluate(
        """async ([source, kind, document]) => {
            const url = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
            const { default: widget } = await import(url);
            const values = { kind, document };
            const el = window.document.getElementById("cell");
            const stop = widget.render({ model: { get: (name) => values[name] }, el });
            const shown = window.document.querySelectorAll(".row.member, .map-cell").length;
            stop();
            return shown;
        }""",
        [bundle.module("widget"), kind, json.loads(json.dumps(packed))],
    )
    assert shown > 10


def test_a_document_is_not_changed_by_drawing_it(drawing):
    packed = json.loads(json.dumps(pack_reading(addition(draws=20))))
    kept = copy.deepcopy(packed)
    page = drawing("reading", packed)
    again = page.evaluate("""async (packed) => {
        const { mountReading } = await import("/static/report/reading.js");
        mountReading(document.createElement("div"), packed);
        return packed;
    }""", packed)  # fmt: skip
    assert again == kept
