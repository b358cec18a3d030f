from __future__ import annotations

import base64
import hashlib
import json
import random
import re
from importlib.resources import files
from typing import Any

import pytest

from inversionview.report import bundle, colors
from inversionview.report.page import DATA, plain_styles, render_fragment, render_page
from inversionview.report.reading import printable
from inversionview.report.wire import MOST_TOKENS
from tests.report.css import rules
from tests.report.examples import addition, exact, pack, text, told
from tests.report.page import Page, held


def whole(*readings: dict[str, Any], title: str = "t") -> str:
    return render_page([pack(reading, most_tokens=MOST_TOKENS) for reading in readings], title=title)


def fragment(reading: dict[str, Any]) -> str:
    return render_fragment(pack(reading, most_tokens=MOST_TOKENS))


def hostile() -> dict[str, Any]:
    reading = told()
    nasty = ["</td><script>alert(1)</script>", '"><img src=x onerror=alert(1)>', " ", "\n", "🙂", "&amp;", "'", "\x00"]
    reading["samples"][0]["tokens"] = [*nasty, "=", "1", "4", "7", "6", "E"]
    reading["study"] = reading["site"] = reading["colors_about"] = "<b onmouseover=alert(1)>&"
    reading["sources"][0]["name"] = reading["features"][0]["name"] = reading["features"][0]["query"] = "<i>'\""
    reading["features"][0]["values"][0] = "<u>"
    reading["query"] |= {"tokens": [*nasty, "=", "1", "4", "7", "6", "E"], "at": "<s>"}
    return reading


def test_a_reading_says_its_answer_in_one_order() -> None:
    text = Page(fragment(told())).text
    answer = pack(told())["words"]["answer"]
    said = [
        answer["head"], answer["about"], answer["sentence"], "KNOWS", answer["knows"][0]["text"], "PARTLY",
        answer["partly"][0]["text"], "A LITTLE", answer["little"][0]["text"], "NOT", answer["nothing"], "MEMBERS",
        answer["members"], answer["patterns"][0]["words"], answer["patterns"][1]["words"], "Rows, typical",
        "Near misses", answer["misses"][0]["distance_words"], "TRUST", answer["trust"], "Bits about features",
        "How it was found", "domain 810,000 inputs", "Sources",
    ]  # fmt: skip
    place = 0
    for words in said:
        assert words in text[place:], f"{words} does not stand behind {text[max(0, place - 60) : place]}"
        place = text.index(words, place) + len(words)


def test_each_feature_has_its_share_and_bits_beside_it() -> None:
    rows = Page(fragment(told())).captioned("What it knows")
    assert [row[0] for row in rows] == ["KNOWS", "", "PARTLY", "A LITTLE", "NOT"]
    assert rows[0][2:] == ["99%", "█" * 10, "4.05 of 4.09 (4.01 to 4.09)"]
    assert rows[3][2:4] == ["39%", "█" * 4]
    assert rows[4] == ["NOT", "F2"]


def test_rows_are_the_first_typical_members_below_the_query() -> None:
    reading = told()
    random.Random(1).shuffle(reading["typical"])
    page = Page(fragment(reading))
    first = [reading["samples"][i] for i in reading["typical"][:12]]
    assert [cells[0]["text"] for cells in page.rows("query")] == ["615+861=1476"]
    assert [cells[0]["text"] for cells in page.rows("member")] == ["".join(one["tokens"][1:-1]) for one in first]
    assert [float(cells[2]["text"]) for cells in page.rows("member")] == [round(one["distance"], 3) for one in first]
    more = reading["counts"]["inside"] - 12
    assert any(caption.endswith(f"; {more:,} more") for caption in page.captions)


def test_near_misses_are_of_the_domain_and_say_what_differs() -> None:
    reading = told()
    misses = [sample for sample in reading["samples"] if sample["in_domain"] and not sample["inside"]]
    outside = {"".join(one["tokens"][1:-1]) for one in reading["samples"] if not one["in_domain"]}
    misses[1]["differs"] = "F1+S1 = 13"
    rows = Page(fragment(reading)).captioned("Near misses, beyond ε = 0.1")
    assert [row[0] for row in rows] == ["".join(one["tokens"][1:-1]) for one in misses[:3]]
    assert all(float(row[1]) > 0.1 for row in rows)
    assert [row[2] for row in rows] == ["", "F1+S1 = 13", ""]
    assert outside
    assert not outside & {
        cell["text"] for kind in ("member", "miss") for row in Page(fragment(reading)).rows(kind) for cell in row
    }


def test_without_a_pattern_or_bits_it_is_said_why() -> None:
    reading = addition()
    reading["patterns"] = {"found": [], "rest": 1.0, "by": [], "why_not": "no pattern: the members share nothing"}
    page = Page(fragment(reading))
    assert "no pattern: the members share nothing" in page.text
    assert "was not measured, which is not to say that it is little" in page.text
    assert not any(caption.startswith(("What it knows", "Patterns", "Bits")) for caption in page.captions)


def everything() -> dict[str, Any]:
    """A reading of 1,000 candidates with as much to be said of it as can be."""
    reading = told()
    bits, pattern = reading["bits"], reading["patterns"]["found"][0]
    long = "When Alice and Paul were at the station on a Sunday in the rain, Paul gave a book to Alice."
    reading["bits"] = [
        bits[i % 5] | {"name": f"feature {i}", "about": "what this is about, at some length"} for i in range(80)
    ]
    reading["patterns"]["found"] = [
        pattern | {"words": f"IO = Alice, S = Paul, place = {i}", "examples": [long] * 3} for i in range(8)
    ]
    reading["features"] *= 4
    reading["curve"] *= 6
    return reading


@pytest.mark.parametrize("reading", [told(), everything(), exact(), text(samples=1000, length=120)])
def test_a_fragment_of_a_thousand_candidates_is_small(reading: dict[str, Any]) -> None:
    assert len(reading["samples"]) > 900
    assert len(fragment(reading).encode()) < 20_000


READINGS = [told(), addition(), addition(draws=8), addition(exact=True), text(length=90, samples=9), everything()]


@pytest.mark.parametrize("reading", READINGS)
def test_every_row_of_a_table_is_as_wide(reading: dict[str, Any]) -> None:
    for table in Page(fragment(reading)).tables:
        widths = {sum(int(cell.get("colspan") or 1) for cell in row["cells"]) for row in table}
        assert len(widths) == 1, table


def test_where_every_input_has_a_position_of_its_own_it_is_named() -> None:
    reading = told() | {"position_rule": "any"}
    first = reading["samples"][reading["typical"][0]]
    first["position"] = 5
    page = Page(fragment(reading))
    assert page.rows("member")[0][0]["text"] == "".join(first["tokens"][1:-1]) + " (at 5)"
    assert page.rows("query")[0][0]["text"] == "615+861=1476 (at 8)"
    assert "(at 8)" not in Page(fragment(told())).text


def test_every_level_has_a_colour_in_both_themes() -> None:
    css = bundle.styles()
    for step in range(1, colors.STEPS + 1):
        for name in (f"p{step}", f"m{step}"):
            assert f".{name}{{background-color:var(--{name})}}" in css
            # light and dark, each for the system's preference, for a notebook's own, and for one that was chosen
            assert css.count(f"--{name}:#") == 6


def test_the_colours_of_the_page_are_those_of_the_drawings() -> None:
    kept = files("inversionview.report").joinpath("static", "theme.css").read_text(encoding="utf-8")
    assert kept == colors.theme_css(), "write report.colors.theme_css() to report/static/theme.css"


def test_shares_of_members_stand_among_the_details() -> None:
    source = fragment(addition())
    of = f"{addition()['counts']['inside']:,} members"
    [shares] = Page(source).captioned(f"Share of {of} with the query's")
    assert (shares[1], shares[5]) == ("100%", "100%")
    assert source.index("<details>") < source.index("Share of")


def test_tokens_and_names_are_text_whatever_they_hold() -> None:
    page = Page(whole(hostile(), hostile(), title="<title>&</title>"))
    tags = {tag for tag, _ in page.elements}
    assert not tags & {"img", "s", "u"}
    assert not any(name.startswith("on") for _, attributes in page.elements for name in attributes)
    shown = Page(fragment(hostile())).rows("query")[0][0]["text"]
    assert shown.startswith(""""><img src=x onerror=alert(1)> ↵🙂&amp;'""")
    assert "".join(page.texts).count("<b onmouseover=alert(1)>&") >= 4


def test_a_surrogate_can_be_written() -> None:
    reading = hostile()
    reading["samples"][0]["tokens"][0] = reading["study"] = "\ud83d"
    assert "⟨D83D⟩" in whole(reading).encode("utf-8").decode("utf-8")


@pytest.mark.parametrize("reading", [addition(), text(length=60, samples=4), hostile()])
def test_nothing_is_fetched_and_only_our_script_runs(reading: dict[str, Any]) -> None:
    source = whole(reading, reading)
    page = Page(source)
    [script] = re.findall(r"<script>(.*?)</script>", source, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = [a["content"] for tag, a in page.elements if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy == [
        f"default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline'; "
        "base-uri 'none'; form-action 'none'"
    ]
    scripts = [attributes for tag, attributes in page.elements if tag == "script"]
    assert [attributes.get("type") for attributes in scripts] == [DATA, DATA, None]
    for tag, attributes in page.elements:
        assert tag not in {"link", "img", "iframe", "object", "base", "form"}
        assert "src" not in attributes
        assert (attributes.get("href") or "#").startswith("#")
    css = plain_styles() + bundle.layout()
    assert not re.search(r"url\(|@import|https?:|//", css)
    assert "</" not in css


def test_a_fragment_has_no_script() -> None:
    assert "<script" not in fragment(addition())


def test_the_page_holds_the_reading_as_data() -> None:
    reading = hostile()
    [document] = held(whole(reading))
    assert document == json.loads(json.dumps(pack(reading, most_tokens=MOST_TOKENS)))
    assert [document["strings"][i] for i in document["samples"][0]["tokens"]] == reading["samples"][0]["tokens"]


def test_a_page_of_long_inputs_holds_only_the_nearest_for_its_script() -> None:
    reading = text(samples=300)
    [document] = held(whole(reading))
    kept = document["samples"]
    assert 20 < len(kept) < 300
    nearest = sorted(sample["distance"] for sample in reading["samples"])[: len(kept)]
    assert [sample["distance"] for sample in kept] == pytest.approx(nearest, rel=1e-3)


PLAIN = (".inversionview.plain-view.plain-view", ".inversionview.page.page")
SCRIPTED = (".inversionview.scripted.scripted",)


@pytest.mark.parametrize(("sheet", "roots"), [("plain.css", PLAIN), ("static/view.css", SCRIPTED)])
def test_every_style_is_under_the_root_of_its_kind(sheet: str, roots: tuple[str, ...]) -> None:
    found = rules(files("inversionview.report").joinpath(sheet).read_text(encoding="utf-8"))
    assert len(found) > 20
    for selector, _ in found:
        root = next((root for root in roots if selector.startswith(root)), None)
        assert root is not None, selector
        assert not selector.removeprefix(root)[:1].isalnum(), selector


def test_what_both_kinds_share_is_colours_alone() -> None:
    for selector, declared in rules(bundle.colours()):
        assert ".inversionview" in selector
        if selector.endswith(".inversionview") or selector.endswith("]"):
            assert re.fullmatch(r"((--\w+:#\w+|color-scheme:\w+);)*", declared), selector
        elif declared:
            assert re.fullmatch(r"\.inversionview\.inversionview\.inversionview \.([mph]\d|hue)", selector)
            assert re.fullmatch(r"(--hue:var\(--\w+\);?)?(background-color:[^;]*)?", declared)


def test_a_rule_that_is_not_under_its_root_is_seen() -> None:
    css = (
        ".a.a { color: red; .b, .c:is(d, e) { top: 0; } &.f > g { left: 0; } "
        "@media print { h { right: 0; } } } i { top: 0; }"
    )
    assert rules(css) == [
        (".a.a", "color: red;"), (".a.a .b", "top: 0;"), (".a.a .c:is(d, e)", "top: 0;"), (".a.a.f > g", "left: 0;"),
        (".a.a h", "right: 0;"), ("i", "top: 0;"),
    ]  # fmt: skip


def test_several_fragments_on_one_page_share_no_ids() -> None:
    page = Page(fragment(addition()) + fragment(text(length=60, samples=4)))
    assert not any(name in attributes for _, attributes in page.elements for name in ("id", "name", "for"))


def test_the_overview_links_to_each_reading_with_its_sentence() -> None:
    second = told() | {"site": "x1.post"}
    page = Page(whole(told(), second))
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert ids == ["reading-1", "reading-2"]
    assert [a["href"] for tag, a in page.elements if tag == "a"] == [f"#{name}" for name in ids]
    overview = page.text.partition("head 0 of layer 0")[0]
    for reading in (told(), second):
        assert pack(reading)["words"]["answer"]["sentence"] in overview
    assert overview.count("615+861=1476, addition") == 1, "two readings of one input stand under it"
    assert not [tag for tag, _ in Page(whole(addition())).elements if tag in ("a", "nav")]


def test_long_inputs_are_shown_around_the_position_in_whole_words() -> None:
    reading = text(length=300, samples=40)
    reading["typical"] = [i for i, sample in enumerate(reading["samples"]) if sample["inside"]]
    for cells, i in zip(Page(fragment(reading)).rows("member"), reading["typical"], strict=False):
        sample = reading["samples"][i]
        shown, _, at = cells[0]["text"].rpartition(" (at ")
        assert at == f"{sample['position']})"
        assert len(shown) < 120
        assert printable(sample["tokens"][sample["position"]]).strip() in shown


@pytest.mark.parametrize("reading", [told(), text(length=60, samples=4)])
def test_a_sample_without_a_position_is_no_miss(reading: dict[str, Any]) -> None:
    reading["samples"][-1] |= {"position": -1, "distance": None, "inside": False, "in_domain": True}
    nowhere = "".join(reading["samples"][-1]["tokens"][1:-1])
    assert nowhere not in [cells[0]["text"] for cells in Page(fragment(reading)).rows("miss")]


def test_no_members_is_said() -> None:
    reading = addition(draws=60)
    for sample in reading["samples"]:
        sample["inside"] = False
    reading["counts"]["inside"] = 0
    page = Page(fragment(reading))
    assert page.rows("member") == []
    assert not any(caption.startswith("Share of") for caption in page.captions)
    assert "none found inside ε = 0.1" in page.text


def test_the_same_reading_gives_the_same_page() -> None:
    assert whole(addition(), text(length=40)) == whole(addition(), text(length=40))
