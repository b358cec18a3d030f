"""What the modules draw of documents, whoever sends them: made-up readings, mounted in a page of the server's."""

from __future__ import annotations

import copy
import json

import pytest

from inversionview.report import bundle
from inversionview.report.page import render_page
from inversionview.report.reading import printable, visible
from inversionview.report.wire import pack_causal, pack_map, pack_patching, pack_tests
from inversionview.results.hypotheses import HypothesisTests
from tests.report import causal, patching
from tests.report.examples import (
    addition,
    addition_map,
    as_map,
    estimated,
    exact,
    hypotheses,
    large_map,
    pack,
    text,
    told,
)

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
    tab.page.goto(f"{tab.address}/#study=tiny&view=compare")  # which asks the model nothing
    tab.page.wait_for_selector(".empty")

    def draw(name, document, **options):
        tab.page.evaluate(MOUNT, [name, json.loads(json.dumps(document)), options])
        return tab.page

    return draw


def hostile():
    reading = addition(draws=60)
    for i, sample in enumerate(reading["samples"]):
        sample["tokens"] = [*(HOSTILE[(i + k) % len(HOSTILE)] for k in range(13)), "E"]
    reading["query"] = {"tokens": [*HOSTILE[:13], "E"], "position": 8, "at": "<s>"}
    reading["study"] = reading["colors_about"] = "<b onmouseover=alert(1)>&"  # an unknown site is refused in Python
    reading["features"][0]["name"] = "<i>'\""
    return reading


def test_what_is_hidden_in_tokens_and_names_is_drawn_as_python_shows_it(drawing):
    reading = addition(draws=5)
    for sample in reading["samples"]:
        sample["tokens"] = HOSTILE
    names = [f"{i} {token}" for i, token in enumerate(HOSTILE)]
    reading["features"] = [{"name": name, "values": [name] * len(reading["samples"])} for name in names]
    page = drawing("reading", pack(reading), columns=[printable(name) for name in names])
    page.click(".row.sample >> nth=0")
    assert page.locator(".detail .running .tok").all_text_contents() == [visible(token) for token in HOSTILE]
    assert page.locator(".menu-body label").all_text_contents() == [printable(name) for name in names]
    assert page.locator(".row.sample >> nth=0 >> .feature").all_text_contents() == [printable(name) for name in names]


def test_tokens_are_text_whatever_they_hold(drawing):
    page = drawing("reading", pack(hostile()))
    query, shown = hostile()["query"]["tokens"], page.locator(".row.query .tok").all_text_contents()
    assert len(shown) > 5
    assert " ".join(shown) in " ".join(map(visible, query))
    page.click("[data-order=nearest]")
    page.wait_for_selector(".rows-said:has-text('nearest first')")
    page.click(".row.sample >> nth=0")
    nearest = min(hostile()["samples"], key=lambda sample: (not sample["in_domain"], sample["distance"]))
    whole = page.locator(".detail .column .tok").all_text_contents()
    assert whole == [visible(token) for token in nearest["tokens"]]
    assert page.locator(".reading-view :is(script, img, b[onmouseover])").count() == 0
    assert "<b onmouseover=alert(1)>&" in page.inner_text(".reading-head")


def test_a_thousand_members_of_512_tokens_scroll_without_stutter(drawing):
    packed = json.loads(json.dumps(pack(text(samples=20, length=512))))
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
    assert int(page.get_attribute(".table", "aria-rowcount")) == 801 + 2, "typical members, the query and the head"
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
    page = drawing("reading", pack(reading))
    said = page.inner_text(".rows-said")
    assert f"inside ε = {reading['epsilon']:g}" in said
    assert f"{reading['counts']['inside']:,} input" in said
    assert page.locator(".row.divider").count() + page.locator(".row.member").count() > 0


def test_members_near_misses_and_what_is_outside_come_in_this_order(drawing):
    reading = addition(draws=200)
    page = drawing("reading", pack(reading))
    orders = page.evaluate("""async ([packed]) => {
        const { itemsOf } = await import("/static/report/items.js");
        const { cut } = await import("/static/report/cut.js");
        const { unpack } = await import("/static/report/wire.js");
        const reading = unpack(packed);
        const groups = cut(reading, reading.epsilon);
        const how = { groups, inside: reading.counts.inside, sort: "", pattern: null };
        return ["typical", "nearest", "misses"].map((order) =>
            itemsOf(reading, { ...how, order }).map(({ kind, i }) => [kind, i ?? -1]));
    }""", [json.loads(json.dumps(pack(reading)))])  # fmt: skip
    members = [i for i, sample in enumerate(reading["samples"]) if sample["inside"]]
    typical, nearest, misses = orders
    assert nearest == [["member", i] for i in members], "samples are nearest first"
    assert sorted(typical) == sorted(nearest)
    assert list(dict.fromkeys(kind for kind, _ in misses)) == ["miss", "between", "miss outside"]
    assert {i for _, i in misses} - {-1} == set(range(len(reading["samples"]))) - set(members)


@pytest.mark.parametrize("epsilon", [0.02, 0.05, 0.1, 0.3])
def test_the_cut_is_what_another_epsilon_gives(drawing, epsilon):
    reading = addition(draws=300)
    page = drawing("reading", pack(reading), epsilon=epsilon)
    inside = sum(s["in_domain"] and s["distance"] <= epsilon for s in reading["samples"])
    assert page.inner_text(".rows-said").startswith(f"{inside:,} input")


def test_no_members_and_samples_without_a_place_are_drawn(drawing):
    reading = addition(draws=30)
    for sample in reading["samples"]:
        sample |= {"inside": False, "distance": None, "in_domain": False, "token_distances": None, "colors": None}
    reading["counts"]["inside"] = 0
    page = drawing("reading", pack(reading))
    assert "no member was found" in page.inner_text(".row.divider")
    assert page.locator(".row.miss .number").first.inner_text() == "–"


def test_rows_are_sorted_by_a_column_and_back(drawing):
    reading = addition(draws=200)
    page = drawing("reading", pack(reading))
    name = reading["features"][0]["name"]
    page.click(f".labels button[title='sort by {name}']")
    page.wait_for_selector(".labels [aria-sort='ascending'] button[title^='sort by F']")
    values = page.locator(".row.member .feature").all_inner_texts()[:20]
    assert values == sorted(values)
    page.click(".labels button[title='nearest first']")
    page.wait_for_selector(".labels .number[aria-sort='ascending']")
    distances = [float(text) for text in page.locator(".row.member .number").all_inner_texts()]
    assert distances == sorted(distances)


def test_tokens_carry_their_level_and_their_numbers(drawing):
    page = drawing("reading", pack(addition()))
    first = page.locator(".row.sample.member").first
    assert "p7" in first.locator(".tok").nth(1).get_attribute("class").split()
    first.locator(".tok").nth(1).click()
    assert "change +0.86 · distance here 1.1" in page.inner_text(".detail-note")
    page = drawing("reading", pack(addition(draws=30)))
    page.click("[data-order=misses]")
    page.wait_for_selector(".row.miss")
    near = next(row for row in page.locator(".row.miss").all() if row.locator(".tok").nth(5).inner_text() != "8")
    assert "m5" in near.locator(".tok").nth(5).get_attribute("class").split()


def test_tokens_of_one_position_are_one_column(drawing):
    reading = addition()
    reading["samples"][3]["tokens"] = ["B", "1", "+", "1", "=", "2", "E"]  # shorter than the others
    page = drawing("reading", pack(reading))
    for row in page.locator(".row.sample").all():
        cells = row.locator("[role=gridcell]").all()
        assert len(cells) == 2 + 14 + 1  # distance and bar, tokens, F1+S1
        marked = [i for i, cell in enumerate(cells) if "here" in (cell.get_attribute("class") or "").split()]
        assert marked in ([2 + 8], [])


def test_shares_of_members_stand_under_the_query(drawing):
    listed = f"100% of {addition()['counts']['inside']} members listed have 6 here"
    for reading, title in ((addition(), listed), (exact(), "97% of all 6,394 members have 6 here")):
        page = drawing("reading", pack(reading))
        assert page.locator(".row.shares .share").nth(1).get_attribute("title") == title
        assert page.locator(".row.query .tok").nth(1).inner_text() == "6"


def test_long_inputs_are_shown_around_the_position_and_whole_on_request(drawing):
    reading = text()
    page = drawing("reading", pack(reading))
    page.click("[data-order=nearest]")
    page.wait_for_selector(".rows-said:has-text('nearest first')")
    nearest = reading["samples"][0]
    row = page.locator(".row.member").first
    assert row.locator(".here").inner_text() == nearest["tokens"][nearest["position"]].strip()
    assert row.locator(".text").inner_text().startswith("…")
    row.click()
    assert page.locator(".detail .running .tok").all_text_contents() == [visible(token) for token in nearest["tokens"]]


def test_a_map_shows_shares_as_colours_and_a_cell_opens_to_all_its_numbers(drawing):
    document = addition_map()
    page = drawing("map", pack_map(as_map(document)))
    faces = {site: page.locator(f".map-cell[data-site='{site}'][data-at='=']") for site in ("a0.0", "a1.2", "a0.2")}
    classes = [cell.get_attribute("class").split() for cell in faces.values()]
    assert [names[:2] for names in classes] == [["map-cell", "hue"], ["map-cell", "hue"], ["map-cell", "blank"]]
    assert classes[0][2] != classes[1][2], "F1+S1 and A2 are told apart by their colours too"
    assert float(faces["a0.0"].evaluate("cell => cell.style.getPropertyValue('--share')")) == pytest.approx(0.99)
    assert faces["a0.0"].inner_text().split("\n") == ["F1+S1", "4.0 ●", "F1, S1, C1, four digits"]
    assert page.locator(".map-cell").count() == len(document["cells"])
    assert faces["a0.0"].get_attribute("aria-label").startswith("a0.0 at =: F1+S1: 3.96 of 4.00 bits (99%)")
    assert "0% 100% of the feature’s entropy" in " ".join(page.inner_text(".map-legend").split())
    faces["a0.0"].press("Enter")  # the keyboard opens a cell, too
    cell = document["cells"][12 + 7]
    rows = [row.locator("th, td").all_inner_texts() for row in page.locator(".map-detail tbody tr").all()]
    assert [row[0] for row in rows][:3] == ["F1+S1", "F1", "S1"]
    assert {row[0] for row in rows} == set(cell["bits"])
    assert rows[0] == ["F1+S1", "", "3.96 ± 0.01", "4.00", "99%", "3.98"]
    assert set(page.locator(".map-detail tr.known th").all_inner_texts()) == set(cell["knows"])
    assert "7.25 ± 0.04 bits about the whole input, mean over 100 queries" in page.inner_text(".map-detail")


def test_a_map_of_one_feature_shows_its_share_where_it_is_known_from_and_what_the_token_gives(drawing):
    document = addition_map()
    for cell in document["cells"]:
        cell["bits"]["token"] = {"bits": 3.0, "of": 3.0, "se": 0.0, "divergence": 3.0}
    page = drawing("map", pack_map(as_map(document)))
    choice = page.locator(".feature-choice")
    assert choice.first.get_attribute("aria-pressed") == "true"
    assert choice.last.inner_text() == "token", "what nobody asks for comes last"
    page.click(".feature-choice[data-feature='F1']")
    cell = page.locator(".map-cell[data-site='a0.0'][data-at='F1']")
    assert cell.inner_text().split() == ["99%", "3.14"]
    assert "given" in cell.get_attribute("class").split()
    assert page.locator(".map-cell[data-site='a0.0'][data-at='=']").get_attribute("class").split()[1] == "hue"
    known = " ".join(page.inner_text(".map-known").split())
    assert known == "F1: known from a0.0 at = a0.0 at A1 a0.0 at A2 the token gives it at F1"
    page.click(".map-known button >> nth=0")
    assert page.inner_text(".map-detail strong").split() == ["a0.0", "at", "="]
    names = page.locator(".map-detail tbody th").all_inner_texts()
    assert names[0] == "F1+S1", "the details are in the order of the cell"
    assert "token" not in names
    page.click(".feature-choice[data-feature='token']")
    assert "token" in page.inner_text(".map-detail").split()
    page.click(".feature-choice >> nth=0")
    assert page.inner_text(".map-known") == ""


def test_a_map_of_one_input_has_no_errors_and_a_proper_minus(drawing):
    document = addition_map(text="615+861=1476")
    document["cells"][0]["bits"]["C1"]["bits"] = -0.31
    document["cells"][1] |= {
        "bits": {}, "best": None, "knows": [], "log2_domain_over_preimage": None, "se": None, "why_not": "2 of <20>",
    }  # fmt: skip
    page = drawing("map", pack_map(as_map(document)))
    page.locator(".map-cell").nth(0).click()
    detail = page.inner_text(".map-detail")
    assert "−0.31" in detail
    assert "±" not in detail
    page.locator(".map-cell").nth(1).click()
    assert "not measured: 2 of <20>" in page.inner_text(".map-detail")


def test_levels_clip_and_take_what_is_no_number_for_no_change(drawing):
    page = drawing("reading", pack(addition(draws=5)))
    levels = page.evaluate(
        "import('/static/report/scale.js').then((m) => [-7, -1, -0.5, 0, 0.03, 1, 2, NaN, null].map(m.changeClass))"
    )
    assert levels == ["m8", "m8", "m4", "", "", "p8", "p8", "", ""]


@pytest.mark.parametrize(("kind", "packed", "widths"), [
    ("causal", pack_causal(causal.document()), ["75%", "25%", "0%", "22.5%"]),
    ("patching", pack_patching(patching.document()), ["25%", "100%", "0.02%", "100%"]),
])  # fmt: skip
def test_rows_have_bars_and_the_text_of_the_plain_tables(drawing, kind, packed, widths):
    page = drawing(kind, packed)
    bars = [bar.get_attribute("style") for bar in page.locator(".well i").all()]
    assert [style.removeprefix("width: ").removesuffix(";") for style in bars] == widths
    shown = page.inner_text(f".{kind}-view")
    for table in packed["words"]["tables"].values():
        assert all(cell in shown for row in table["rows"] for cell in row["cells"])
    assert packed["words"]["heading"] in shown


def test_a_saved_page_answers_without_a_server(tab, tmp_path):
    reading = estimated()
    file = tmp_path / "reading.html"
    file.write_text(
        render_page([pack(reading), pack(addition(site="x1.post"))], title="two readings"),
        encoding="utf-8",
    )
    page = tab.page
    page.goto(file.as_uri())
    page.wait_for_selector(".reading-view >> nth=1")
    assert page.locator(".reading-view").count() == 2
    assert page.locator("section.plain-view").count() == 0, "the tables that need no script have made room"
    page.locator(".epsilon-range").first.focus()
    page.keyboard.press("Home")
    page.wait_for_selector(".stale:not(:empty)")
    page.click("nav a >> nth=1")
    assert page.url.endswith("#reading-2")


@pytest.mark.parametrize("tab", [{"java_script_enabled": False}], indirect=True)
def test_a_saved_page_is_read_without_scripts(tab, tmp_path):
    file = tmp_path / "reading.html"
    file.write_text(render_page([pack(told())], title="t"), encoding="utf-8")
    tab.page.goto(file.as_uri())
    assert tab.page.locator("tr.member").count() == 12
    assert tab.page.locator(".reading-view").count() == 0


@pytest.mark.parametrize("packed", [
    pack(addition()), pack_map(as_map(addition_map())), pack_causal(causal.document()),
    pack_patching(patching.document()), pack_tests(HypothesisTests(hypotheses())),
], ids=lambda packed: packed["kind"])  # fmt: skip
def test_a_notebook_draws_the_same(tab, packed):
    page = tab.page
    page.goto("about:blank")
    page.set_content("<div id=cell></div>")
    page.add_style_tag(content=bundle.styles())
    shown = page.evaluate(
        """async ([source, document]) => {
            const url = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
            const { default: widget } = await import(url);
            const values = { document };
            const el = window.document.getElementById("cell");
            const stop = widget.render({ model: { get: (name) => values[name] }, el });
            const drawn = ".row.member, .map-cell, .plain td, .tests-view [role=cell]";
            const shown = window.document.querySelectorAll(drawn).length;
            stop();
            return shown;
        }""",
        [bundle.module("drawn"), json.loads(json.dumps(packed))],
    )
    assert shown > 10


def test_a_document_is_not_changed_by_drawing_it(drawing):
    packed = json.loads(json.dumps(pack(addition(draws=20))))
    kept = copy.deepcopy(packed)
    page = drawing("reading", packed)
    again = page.evaluate("""async (packed) => {
        const { mountReading } = await import("/static/report/reading.js");
        mountReading(document.createElement("div"), packed);
        return packed;
    }""", packed)  # fmt: skip
    assert again == kept


def test_a_map_of_hundreds_of_sites_is_a_picture_of_layers_by_heads_for_each_feature(drawing):
    document = pack_map(as_map(large_map()))
    page = drawing("map", document)
    captions = page.locator(".map-picture figcaption").all_inner_texts()
    assert [caption.split(" at ")[0] for caption in captions] == ["F1", "S1"]
    assert "most at a3.2" in captions[0]
    first = page.locator(".map-grid").nth(0)
    assert first.locator(".square").count() == len(document["cells"])
    square = first.locator('[data-site="a3.2"]')
    where = "element => [getComputedStyle(element).gridRowStart, getComputedStyle(element).gridColumnStart]"
    assert square.evaluate(where) == ["4", "3"]
    assert "hue" in square.get_attribute("class").split()
    assert "blank" in first.locator('[data-site="a3.3"]').get_attribute("class")
    square.click()
    detail = " ".join(page.inner_text(".map-detail").split())
    assert "a3.2 at =" in detail
    assert "By value: short (40): F1 0.95" in detail
    assert "95% interval" in page.locator(".map-detail td[title]").nth(0).get_attribute("title")
    assert square.get_attribute("aria-pressed") == "true"
