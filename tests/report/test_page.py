from __future__ import annotations

import base64
import hashlib
import json
import re
from importlib.resources import files
from typing import Any

import pytest

from inversionview.report import bundle, colors
from inversionview.report.page import DATA, plain_styles, render_fragment, render_page
from inversionview.report.reading import visible
from inversionview.report.wire import MOST_TOKENS
from tests.report.css import rules
from tests.report.examples import addition, pack, text
from tests.report.page import Page, held


def whole(*readings: dict[str, Any], title: str = "t") -> str:
    return render_page([pack(reading, most_tokens=MOST_TOKENS) for reading in readings], title=title)


def fragment(reading: dict[str, Any], **options: int) -> str:
    return render_fragment(pack(reading, most_tokens=MOST_TOKENS), **options)


def hostile() -> Reading:
    reading = addition(draws=40)
    nasty = ["</td><script>alert(1)</script>", '"><img src=x onerror=alert(1)>', " ", "\n", "🙂", "&amp;", "'", "\x00"]
    reading["samples"][0]["tokens"] = [*nasty, "=", "1", "4", "7", "6", "E"]
    reading["study"] = reading["site"] = reading["colors_about"] = "<b onmouseover=alert(1)>&"
    reading["sources"][0]["name"] = reading["features"][0]["name"] = reading["features"][0]["query"] = "<i>'\""
    reading["features"][0]["values"][0] = "<u>"
    reading["query"] |= {"tokens": [*nasty, "=", "1", "4", "7", "6", "E"], "at": "<s>"}
    return reading


def test_members_come_nearest_first_then_the_line_then_near_misses() -> None:
    reading = addition()
    page = Page(whole(reading))
    kinds = [row["class"] for row in page.tables[0]]
    line = kinds.index("divider")
    assert "miss" not in kinds[:line]
    assert "member" not in kinds[line:]
    members, misses = page.rows("member"), page.rows("miss")
    expected = [sample for sample in reading["samples"] if sample["inside"]][: len(members)]
    assert [cells[1]["text"] for cells in members] == ["".join(sample["tokens"]) for sample in expected]
    distances = [float(cells[0]["text"]) for cells in members]
    assert distances == sorted(distances)
    assert max(distances) <= 0.1 <= float(misses[0][0]["text"])
    assert page.rows("divider")[0][0]["text"].startswith("ε = 0.1")


def test_what_is_not_shown_is_counted() -> None:
    reading = addition()
    page = Page(fragment(reading, limit=30, near=4))
    assert len(page.rows("member")) == 30
    assert f"{reading['counts']['inside'] - 30:,} more not shown" in page.rows("divider")[0][0]["text"]
    outside = reading["counts"]["in_domain"] - reading["counts"]["inside"] - 4
    assert any(cells[0]["text"] == f"{outside:,} more outside ε are not shown." for cells in page.rows("note"))


def test_candidates_outside_the_domain_stand_apart() -> None:
    page = Page(whole(addition()))
    kinds = [row["class"] for row in page.tables[0]]
    assert kinds.index("head") > kinds.index("divider")
    assert "Not in the domain" in page.rows("head")[0][0]["text"]


@pytest.mark.parametrize("reading", [addition(), addition(draws=8), addition(exact=True), text(length=90, samples=9)])
def test_every_row_of_the_table_is_as_wide(reading: dict[str, Any]) -> None:
    table = Page(fragment(reading)).tables[0]
    widths = {row["class"]: sum(int(cell.get("colspan") or 1) for cell in row["cells"]) for row in table}
    assert len(set(widths.values())) == 1, widths


def test_a_row_names_the_token_that_was_read() -> None:
    reading = addition()
    reading["samples"][3]["tokens"] = ["B", "1", "+", "1", "=", "2", "E"]  # shorter than the others
    page = Page(fragment(reading))
    assert [cells[1]["text"] for cells in page.rows("query")] == ["B615+861=1476E"]
    assert {cells[2]["text"] for cells in [*page.rows("query"), *page.rows("member")]} == {"8: =", ""}
    [short] = [cells for cells in page.rows("member") if cells[1]["text"] == "B1+1=2E"]
    assert short[2]["text"] == ""


def test_every_level_has_a_colour_in_both_themes() -> None:
    css = plain_styles()
    for step in range(1, colors.STEPS + 1):
        for name in (f"p{step}", f"m{step}"):
            assert f".{name}{{background-color:var(--{name})}}" in css
            # light and dark, each for the system's preference, for a notebook's own, and for one that was chosen
            assert css.count(f"--{name}:#") == 6


def test_the_colours_of_the_page_are_those_of_the_drawings() -> None:
    kept = files("inversionview.report").joinpath("static", "theme.css").read_text(encoding="utf-8")
    assert kept == colors.theme_css(), "write report.colors.theme_css() to report/static/theme.css"


def test_shares_of_members_stand_under_the_query() -> None:
    page = Page(fragment(addition()))
    of = f"{addition()['counts']['inside']:,} members listed"
    [at] = [i for i, caption in enumerate(page.captions) if caption.startswith(f"Share of {of} that have the query's")]
    query, shares = ([cell["text"] for cell in row["cells"]] for row in page.tables[at])
    assert [(query[i], shares[i]) for i in (1, 5)] == [("6", "100%"), ("8", "100%")]


def test_tokens_and_names_are_text_whatever_they_hold() -> None:
    page = Page(whole(hostile(), hostile(), title="<title>&</title>"))
    tags = {tag for tag, _ in page.elements}
    assert not tags & {"img", "s", "u"}
    assert not any(name.startswith("on") for _, attributes in page.elements for name in attributes)
    shown = Page(fragment(hostile())).rows("query")[0][1]["text"]
    assert shown.startswith("""</td><script>alert(1)</script>"><img·src=x·onerror=alert(1)>·↵🙂""")
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
            assert re.fullmatch(r"\.inversionview\.inversionview\.inversionview \.[mp]\d", selector)
            assert re.fullmatch(r"background-color:var\(--[mp]\d\)", declared)


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


def test_the_overview_links_to_each_reading() -> None:
    page = Page(whole(addition(), addition(site="x1.post")))
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert ids == ["reading-1", "reading-2"]
    assert [a["href"] for tag, a in page.elements if tag == "a"] == [f"#{name}" for name in ids]
    assert not [tag for tag, _ in Page(whole(addition())).elements if tag in ("a", "nav")]


def test_long_inputs_are_shown_around_the_position() -> None:
    reading = text()
    source = fragment(reading)
    nearest = reading["samples"][0]
    shown, here = (cell["text"] for cell in Page(source).rows("member")[0][1:3])
    position = nearest["position"]
    assert here == f"{position}: ·" + nearest["tokens"][position].strip()
    assert shown.startswith("…")
    assert shown.endswith("…")
    around = "".join(map(visible, nearest["tokens"][position - 3 : position + 3]))
    assert around in shown
    assert len(shown) < 120
    assert len(source) < 3_000_000


def test_a_huge_reading_stays_small() -> None:
    reading = text(samples=300)
    reading["epsilon"] = 5.0
    for sample in reading["samples"]:
        sample["inside"] = True
    reading["counts"]["inside"] = 300
    page = Page(fragment(reading, limit=1000))
    assert 24 < len(page.rows("member")) < 60
    assert "more not shown" in page.rows("divider")[0][0]["text"]


@pytest.mark.parametrize("reading", [addition(draws=60), text(length=60, samples=4)])
def test_a_sample_without_a_position_is_drawn_unmarked(reading: dict[str, Any]) -> None:
    reading["samples"][0] |= {"position": -1, "distance": None, "inside": False, "in_domain": False}
    page = Page(fragment(reading))
    cells = next(cells for cells in page.rows("miss") if cells[0]["text"] == "–")
    assert cells[2]["text"] == ""


def test_no_members_is_said() -> None:
    reading = addition(draws=60)
    for sample in reading["samples"]:
        sample["inside"] = False
    reading["counts"]["inside"] = 0
    page = Page(fragment(reading))
    assert page.rows("member") == []
    assert not any(caption.startswith("Share of") for caption in page.captions)
    assert "no member was found" in page.rows("divider")[0][0]["text"]


def test_an_exact_reading_has_no_column_of_draws() -> None:
    assert "drawn" not in [cell["text"] for cell in Page(fragment(addition(exact=True))).tables[0][0]["cells"]]


def test_the_same_reading_gives_the_same_page() -> None:
    assert whole(addition(), text(length=40)) == whole(addition(), text(length=40))
