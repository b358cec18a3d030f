"""A reading as it is drawn: its answer first, typical rows, text in whole words, a picture, its controls."""

from __future__ import annotations

import json
import re

import pytest

from tests.report.examples import addition, pack, text

ROWS = ".table .rows .row.sample"


@pytest.fixture
def drawing(tab):
    """A page of the server's on which a reading can be drawn."""
    tab.page.goto(f"{tab.address}/#study=tiny&view=compare")  # which asks the model nothing
    tab.page.wait_for_selector(".empty")

    def draw(packed, **options):
        tab.page.evaluate(
            """async ([document, options]) => {
            const { mountReading } = await import("/static/report/reading.js");
            const root = window.document.createElement("div");
            root.className = "live";
            window.document.body.replaceChildren(root);
            window.drawn = mountReading(root, document, options);
        }""",
            [json.loads(json.dumps(packed)), options],
        )
        return tab.page

    return draw


def two_patterns():
    """A reading with an answer in which every word has a place of its own."""
    packed = json.loads(json.dumps(pack(addition(draws=400))))
    members = [i for i, sample in enumerate(packed["samples"]) if sample["inside"]]
    for i in members:
        packed["samples"][i] |= {"weight": 1 / len(members)}
    parities = [_parity(packed, i) for i in range(len(packed["samples"]))]
    packed["features"][0]["values"] = [len(packed["strings"]) + parity for parity in parities]
    for names in (packed["strings"], packed["shown"]):
        names += ["even", "odd"]
    found = [{"examples": [_input(packed, i) for i in members if parities[i] == parity][:2]} for parity in (0, 1)]
    packed |= {"weighted": True, "typical": members[::-1], "patterns": {"found": found, "by": ["F1+S1"]}}

    def line(text, share):
        return {"text": text, "share": share, "share_words": f"{share:.0%}", "detail": ""}

    def pattern(share, words, *examples):
        of = {"share_words": f"{share:.0%} ± 3%", "words": words, "examples": examples}
        return {"share": share, "of_query": False, **of}

    misses = [{"distance_words": "0.42", "input": "750+634=1384", "differs": "hundreds sum to 13", "sample": 0}]
    packed["words"]["answer"] |= {
        "head": 'a0.2 at "=" of 615+861=1476', "about": "head 2 of layer 0, addition", "sentence": "It knows the sum.",
        "knows": [line("sum of the hundreds digits = 14 (F1+S1)", 1.0)],
        "partly": [line("F1 is 6 or 8 (51 : 49)", 0.68)],
        "little": [line("A2", 0.2)], "nothing": "tens and units", "members": "about 19,900 of 810,000 inputs",
        "patterns": [pattern(0.51, "6··+8··", "616+825=1441"), pattern(0.49, "8··+6··", "862+665=1527")],
        "no_pattern": "", "rows": "typical: drawn by weight", "misses": misses,
        "trust": "good: size within 2%", "trust_level": "good", "not_measured": "",
    }  # fmt: skip
    return packed


def _input(packed, i):
    return "".join(packed["strings"][token] for token in packed["samples"][i]["tokens"][1:-1])


def _parity(packed, i):
    return int(_input(packed, i)[-1]) % 2


def said(page):
    return " ".join(page.inner_text(".reading-view").split())


def test_the_answer_stands_first_in_the_order_of_every_surface(drawing):
    page = drawing(two_patterns())
    words = [
        'a0.2 at "=" of 615+861=1476', "head 2 of layer 0, addition", "It knows the sum.",
        "KNOWS sum of the hundreds digits = 14 (F1+S1) 100%", "PARTLY F1 is 6 or 8 (51 : 49) 68%", "A LITTLE A2 20%",
        "NOT tens and units", "MEMBERS about 19,900 of 810,000 inputs", "51% ± 3% 6··+8·· 616+825=1441",
        "49% ± 3% 8··+6·· 862+665=1527", "typical nearest near misses", "typical: drawn by weight", "the query",
        "MISSES 0.42 750+634=1384 hundreds sum to 13", "TRUST good: size within 2%", "details",
    ]  # fmt: skip
    shown = said(page)
    places = [shown.find(one) for one in words]
    assert -1 not in places, words[places.index(-1)]
    assert places == sorted(places)
    widths = [style.split(": ")[1] for style in map(_style, page.locator(".answer-line .well i").all())]
    assert widths == ["100%;", "68%;", "20%;"]
    for hidden in ("log q", "candidates drawn", "decoder t=1"):
        assert hidden not in re.sub(r"drawn \d+ times?, log q [−\d.]+", "", shown), "details are asked for"
    page.click(".made-with summary")
    assert "candidates drawn" in said(page)


def _style(element):
    return element.get_attribute("style")


def test_rows_are_typical_and_nearest_and_near_misses_on_request(drawing):
    packed = two_patterns()
    page = drawing(packed)
    inputs = ["B" + _input(packed, row) + "E" for row in packed["typical"][:8]]
    assert _inputs(page)[:8] == inputs
    page.click("[data-order=nearest]")
    page.wait_for_selector("[data-order=nearest][aria-pressed=true]")
    assert _inputs(page)[:8] != inputs
    distances = [float(words) for words in page.locator(f"{ROWS} .number").all_inner_texts()]
    assert distances == sorted(distances)
    page.click("[data-order=misses]")
    page.wait_for_selector(f"{ROWS}.miss")
    assert page.locator(f"{ROWS}.member").count() == 0


def _inputs(page):
    return ["".join(row.locator(".tok").all_inner_texts()) for row in page.locator(ROWS).all()]


def test_near_misses_say_what_differs(drawing):
    packed = two_patterns()
    near = [i for i, sample in enumerate(packed["samples"]) if sample["in_domain"] and not sample["inside"]]
    packed["samples"][near[0]]["differs"] = "F1+S1 = 13"
    page = drawing(packed)
    assert page.locator(".differs").count() == 0
    page.click("[data-order=misses]")
    page.wait_for_selector(".differs")
    assert page.locator(f"{ROWS} >> nth=0 >> .differs").inner_text() == "F1+S1 = 13"


def test_a_pattern_filters_the_rows_to_those_that_have_it(drawing):
    packed = two_patterns()
    page = drawing(packed)
    page.click(".pattern >> nth=1")
    page.wait_for_selector(".rows-said:has-text('chosen pattern')")
    rows = [row for row in packed["typical"] if _parity(packed, row)]
    inputs = ["B" + _input(packed, row) + "E" for row in rows]
    assert _inputs(page)[:8] == inputs[:8]
    page.click(".pattern >> nth=1")
    page.wait_for_selector(".rows-said:not(:has-text('chosen pattern'))")


def test_the_slider_moves_by_keys_and_marks_what_is_of_the_own_epsilon(drawing):
    packed = two_patterns()
    page = drawing(packed)
    page.focus(".epsilon-range")
    shown = [page.inner_text(".epsilon-value")]
    for key in ["ArrowLeft"] * 5 + ["ArrowRight"] * 5:
        page.keyboard.press(key)
        shown.append(page.inner_text(".epsilon-value"))
    assert shown == [*shown[:6], *shown[4::-1]], "there and back"
    assert len(set(shown)) == 6
    page.wait_for_selector(".answer-list.other", state="detached")  # drawn a moment after the key
    for _ in range(3):
        page.keyboard.press("PageDown")
    page.wait_for_selector(".answer-list.other >> nth=1")
    assert "those of ε = 0.1" in page.inner_text(".stale")
    epsilon = float(page.inner_text(".epsilon-value"))
    inside = [row for row in packed["typical"] if packed["samples"][row]["distance"] <= epsilon]
    inputs = ["B" + _input(packed, row) + "E" for row in inside]
    assert _inputs(page)[:5] == inputs[:5], "typical order holds within a smaller ε"
    page.keyboard.press("End")
    page.wait_for_selector(".rows-said:has-text('in random order')")


def test_menus_close_on_escape_and_when_something_else_is_pressed(drawing):
    page = drawing(two_patterns())
    menu = page.locator(".menu:has(summary:text('columns'))")
    menu.locator("summary").click()
    menu.locator("input").first.click()
    assert menu.get_attribute("open") is not None, "what is in it may be pressed"
    page.keyboard.press("Escape")
    page.wait_for_selector(".menu:not([open]):has(summary:text('columns'))")
    assert page.evaluate("document.activeElement.tagName") == "SUMMARY"
    menu.locator("summary").click()
    page.wait_for_selector(".menu[open]")
    page.click(".sentence")
    page.wait_for_selector(".menu:not([open]):has(summary:text('columns'))")


def sentences():
    """Prose of some 20 words in which a name is known; all share their beginning and end."""
    packed = text(length=12, samples=40)
    middle = ["then", "came", "to", "the", "old", "harbour", "where", "somebody", "was", "waiting", "and", "said"]
    for i, sample in enumerate(packed["samples"]):
        own = [f" {word}" for word in middle[i % 5 :]]
        words = ["Once", " upon", " a", " time", *own, " Montgomery", f" {i}", " gave"]
        sample |= {"tokens": ["<|bos|>", *words, " a", " present", ".", "<|eos|>"], "position": len(words)}
        sample["colors"] = None
    packed["query"] |= {"tokens": packed["samples"][0]["tokens"], "position": packed["samples"][0]["position"]}
    packed["features"] = [{"name": "giver", "values": ["Montgomery"] * 40, "query": "Montgomery"}]
    packed["bits"] = [{"name": "giver", "bits": 3.0, "of": 3.0, "divergence": 3.0, "interval": None}]
    return packed


@pytest.mark.parametrize("tab", [{"viewport": {"width": width, "height": 900}} for width in (1280, 520)], indirect=True)
def test_text_is_cut_between_words_and_keeps_what_is_known(drawing):
    page = drawing(pack(sentences()))
    assert page.locator(f"{ROWS} >> nth=0 >> .feature").inner_text() == "Montgomery"
    cut = page.evaluate("""() => [...document.querySelectorAll(".table .text")].map((cell) => {
        const box = cell.getBoundingClientRect();
        const clipped = [...cell.querySelectorAll(".tok")].filter((token) => {
            const own = token.getBoundingClientRect();
            return own.bottom > box.bottom + 2 || own.right > box.right + 1 || own.left < box.left - 1;
        });
        return [clipped.map((token) => token.textContent), cell.textContent];
    })""")
    assert len(cut) > 10
    for clipped, words in cut:
        assert clipped == []
        assert "Montgomery" in words
        assert "Once upon" not in words, "what all share is folded"
        assert "<|bos|>" not in words
    assert page.get_attribute(".table .rows .left-out", "title").startswith("<|bos|>Once upon a time")


def test_attention_has_labels_that_never_overlap(tab):
    tab.page.goto(f"{tab.address}/#study=tiny&view=compare")  # which asks the model nothing
    tab.page.wait_for_selector(".empty")
    tokens = ["<|bos|>", *["·extraordinarily", "·of", "·Montgomery", "·a"] * 6]
    row = [[1 / (i + 1)] * (i + 1) for i in range(len(tokens))]
    tab.page.evaluate(
        """async (attention) => {
        const { mountAttention } = await import("/static/report/attention.js");
        const root = document.createElement("div");
        root.className = "live";
        document.body.replaceChildren(root);
        mountAttention(root, attention, { position: 8, chosen: { layer: 0, head: 1 }, onChoose() {} });
    }""",
        {"tokens": tokens, "first_layer": 0, "layers": [[row, row, row]]},
    )
    page = tab.page
    assert page.locator(".heat").count() == 3
    assert page.locator(".heat text").count() == 0
    page.click(".heat >> nth=2")
    assert page.inner_text(".matrix h3") == "a0.2"
    boxes = [text.bounding_box() for text in page.locator(".matrix svg text").all()]
    assert len(boxes) == 2 * len(tokens)
    for i, a in enumerate(boxes):
        for b in boxes[i + 1 :]:
            apart = a["x"] + a["width"] <= b["x"] + 0.5 or b["x"] + b["width"] <= a["x"] + 0.5
            assert apart or a["y"] + a["height"] <= b["y"] + 0.5 or b["y"] + b["height"] <= a["y"] + 0.5
    weights = page.locator(".matrix .head-cell small").all_inner_texts()
    assert weights[:9] == ["11%"] * 9
    assert set(weights[9:]) == {""}


def test_the_picture_has_the_answer_and_twelve_typical_rows(drawing):
    packed = two_patterns()
    page = drawing(packed)
    texts = page.evaluate("""async () => {
        const { drawPicture } = await import("/static/report/picture.js");
        const svg = drawPicture(drawn.reading, drawn.shown.epsilon, getComputedStyle(drawn.element));
        const rows = new Map();
        for (const text of svg.querySelectorAll("text")) {
            const y = text.getAttribute("y");
            rows.set(y, [...(rows.get(y) ?? []), text.textContent]);
        }
        return [...rows.values()];
    }""")
    lines = [" ".join(row) for row in texts]
    answer = packed["words"]["answer"]
    for words in (answer["head"], answer["sentence"], "MEMBERS " + answer["members"], "TRUST " + answer["trust"]):
        assert words in lines
    for one in answer["patterns"]:
        assert " ".join([one["share_words"], one["words"], *one["examples"]]) in lines
    inputs = ["B" + _input(packed, row) + "E" for row in packed["typical"][:12]]
    first = next(i for i, line in enumerate(lines) if line.startswith("query"))
    assert ["".join(row[1:]) for row in texts[first + 1 : first + 13]] == inputs
    assert lines[first + 13].startswith("TRUST")


def test_the_picture_of_text_keeps_what_is_known(drawing):
    packed = pack(sentences())
    page = drawing(packed)
    lines = page.evaluate("""async () => {
        const { drawPicture } = await import("/static/report/picture.js");
        const svg = drawPicture(drawn.reading, drawn.shown.epsilon, getComputedStyle(drawn.element));
        return [...svg.querySelectorAll("text")].map((text) => text.textContent);
    }""")
    assert lines.count("Montgomery") == 1 + 12
    own = {shown.removeprefix("·") for shown in packed["shown"]} | {
        shown.replace("·", " ") for shown in packed["shown"]
    }
    rows = lines[lines.index("query") + 1 :]
    assert {words for words in rows if not re.fullmatch(r"[\d.]+| ?… ", words)} <= own, "tokens are whole"
