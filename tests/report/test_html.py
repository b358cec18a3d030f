from __future__ import annotations

import base64
import hashlib
import json
import re
from importlib.resources import files

import pytest

from inversionview.report import bundle, colors
from inversionview.report.html import render_fragment, render_html
from inversionview.report.html_page import stylesheet, theme_css
from inversionview.report.html_table import OPEN
from inversionview.report.reading import Reading
from tests.report.examples import addition, text
from tests.report.page import Page


def tokens(cells: list[dict]) -> list[str]:
    return [cell["text"] for cell in cells if "t" in (cell.get("class") or "").split()]


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
    page = Page(render_html([reading], title="615+861=1476"))
    kinds = [row["class"] for row in page.tables[0]]
    line = kinds.index("divider")
    assert "sample miss" not in kinds[:line]
    assert "sample member" not in kinds[line:]
    members, misses = page.rows("member"), page.rows("miss")
    expected = [sample for sample in reading["samples"] if sample["inside"]][: len(members)]
    assert [tokens(cells) for cells in members] == [sample["tokens"] for sample in expected]
    distances = [float(cells[0]["text"]) for cells in members]
    assert distances == sorted(distances)
    assert max(distances) <= 0.1 <= float(misses[0][0]["text"])
    assert page.rows("divider")[0][0]["text"].startswith("ε = 0.1")


def test_what_is_not_shown_is_counted() -> None:
    reading = addition()
    page = Page(render_fragment(reading, limit=30, near=4))
    assert len(page.rows("member")) == 30
    assert f"{reading['counts']['inside'] - 30:,} more not shown" in page.rows("divider")[0][0]["text"]
    assert any(cells[0]["text"] == "show 6 more members" for cells in page.rows("note"))
    outside = reading["counts"]["in_domain"] - reading["counts"]["inside"] - 4
    assert any(cells[0]["text"] == f"{outside:,} more outside ε are not shown." for cells in page.rows("note"))


def test_candidates_outside_the_domain_stand_apart() -> None:
    page = Page(render_html([addition()], title="t"))
    kinds = [row["class"] for row in page.tables[0]]
    assert kinds.index("head") > kinds.index("divider")
    assert "Not in the domain" in page.rows("head")[0][0]["text"]


@pytest.mark.parametrize("reading", [addition(), addition(draws=8), addition(exact=True), text(length=90, samples=9)])
def test_every_row_of_the_table_is_as_wide(reading: Reading) -> None:
    table = Page(render_fragment(reading)).tables[0]
    widths = {
        row["class"]: sum(int(cell.get("colspan") or 1) for cell in row["cells"])
        for row in table
        if row["class"] != "shared"  # it ends with the tokens
    }
    assert len(set(widths.values())) == 1, widths


def test_tokens_of_one_position_are_one_column() -> None:
    reading = addition()
    reading["samples"][3]["tokens"] = ["B", "1", "+", "1", "=", "2", "E"]  # shorter than the others
    page = Page(render_fragment(reading))
    for cells in page.rows("sample"):
        assert sum(int(cell.get("colspan") or 1) for cell in cells[:2]) == 2
        marked = [i for i, cell in enumerate(cells) if "at" in (cell.get("class") or "").split()]
        assert marked in ([2 + 8], [])
    short = next(cells for cells in page.rows("sample") if tokens(cells) == ["B", "1", "+", "1", "=", "2", "E"])
    assert short[2 + 7]["colspan"] == "7"


def test_tokens_carry_their_level_and_their_numbers() -> None:
    cells = Page(render_fragment(addition())).rows("member")[0]
    assert cells[3]["class"] == "t p7"
    assert cells[3]["title"] == "6: change +0.86, distance here 1.1"
    near = next(c for c in Page(render_fragment(addition(draws=30))).rows("miss") if c[7]["text"] != "8")
    assert near[7]["class"] == "t m5"


def test_every_level_has_a_colour_in_both_themes() -> None:
    css = stylesheet()
    for step in range(1, colors.STEPS + 1):
        for name in (f"p{step}", f"m{step}"):
            assert f".{name}{{background-color:var(--{name})}}" in css
            # light and dark, each for the system's preference, for a notebook's own, and for one that was chosen
            assert css.count(f"--{name}:#") == 6


def test_the_colours_of_the_page_are_those_of_the_drawings() -> None:
    kept = files("inversionview.report").joinpath("static", "theme.css").read_text(encoding="utf-8")
    assert kept == theme_css() + "\n", "write report.html_page.theme_css() to report/static/theme.css"


def test_shares_of_members_stand_under_the_query() -> None:
    page = Page(render_fragment(addition()))
    shared = page.rows("shared")[0]
    assert [tokens(page.rows("query")[0])[i] for i in (1, 5)] == ["6", "8"]
    assert shared[1 + 1]["title"] == f"100% of {addition()['counts']['inside']:,} members listed have 6 here"


def test_tokens_and_names_are_text_whatever_they_hold() -> None:
    page = Page(render_html([hostile(), hostile()], title="<title>&</title>"))
    tags = {tag for tag, _ in page.elements}
    assert not tags & {"img", "s", "u"}
    assert not any(name.startswith("on") for _, attributes in page.elements for name in attributes)
    shown = tokens(Page(render_fragment(hostile())).rows("query")[0])
    assert shown[:5] == ["</td><script>alert(1)</script>", '"><img·src=x·onerror=alert(1)>', "·", "↵", "🙂"]
    assert "".join(page.texts).count("<b onmouseover=alert(1)>&") >= 4


def test_a_surrogate_can_be_written() -> None:
    reading = hostile()
    reading["samples"][0]["tokens"][0] = reading["study"] = "\ud83d"
    assert "⟨D83D⟩" in render_html([reading], title="t").encode("utf-8").decode("utf-8")


@pytest.mark.parametrize("reading", [addition(), text(length=60, samples=4), hostile()])
def test_nothing_is_fetched_and_only_our_script_runs(reading: Reading) -> None:
    source = render_html([reading, reading], title="t")
    page = Page(source)
    [script] = re.findall(r"<script>(.*?)</script>", source, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = [a["content"] for tag, a in page.elements if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy == [
        f"default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline'; "
        "base-uri 'none'; form-action 'none'"
    ]
    scripts = [attributes for tag, attributes in page.elements if tag == "script"]
    assert [attributes.get("type") for attributes in scripts] == ["application/json", "application/json", None]
    for tag, attributes in page.elements:
        assert tag not in {"link", "img", "iframe", "object", "base", "form"}
        assert "src" not in attributes
        assert (attributes.get("href") or "#").startswith("#")
    css = stylesheet() + bundle.layout()
    assert not re.search(r"url\(|@import|https?:|//", css)
    assert "</" not in css


def test_a_fragment_has_no_script() -> None:
    assert "<script" not in render_fragment(addition())


def test_the_page_holds_the_reading_as_data() -> None:
    reading = hostile()
    source = render_html([reading], title="t")
    [data] = re.findall(r'<script type="application/json" class="reading-data">(.*?)</script>', source, re.DOTALL)
    held = json.loads(data)
    assert (held["counts"], held["epsilon"]) == (reading["counts"], reading["epsilon"])
    assert [held["strings"][i] for i in held["samples"][0]["tokens"]] == reading["samples"][0]["tokens"]
    assert "<" not in data


def test_a_page_of_long_inputs_holds_only_the_nearest_for_its_script() -> None:
    reading = text(samples=300)
    source = render_html([reading], title="t")
    [data] = re.findall(r'<script type="application/json" class="reading-data">(.*?)</script>', source, re.DOTALL)
    held = json.loads(data)["samples"]
    assert 20 < len(held) < 300
    nearest = sorted(sample["distance"] for sample in reading["samples"])[: len(held)]
    assert [sample["distance"] for sample in held] == pytest.approx(nearest, rel=1e-3)


def test_styles_reach_only_what_is_ours() -> None:
    css = re.sub(r"/\*.*?\*/", "", stylesheet(), flags=re.DOTALL)
    depth, selector, top = 0, "", []
    for character in css:
        if character == "{":
            if depth == 0:
                top.append(selector.strip())
            depth, selector = depth + 1, ""
        elif character == "}":
            depth, selector = depth - 1, ""
        else:
            selector += character
    assert depth == 0
    for rule in top:
        assert rule.startswith("@media") or all(".inversionview" in part for part in rule.split(",")), rule
    assert "@media (prefers-color-scheme:dark){.inversionview{" in css


def test_several_fragments_on_one_page_share_no_ids() -> None:
    page = Page(render_fragment(addition()) + render_fragment(text(length=60, samples=4)))
    assert not any(name in attributes for _, attributes in page.elements for name in ("id", "name", "for"))


def test_the_overview_links_to_each_reading() -> None:
    page = Page(render_html([addition(), addition(site="x1.post")], title="t"))
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert ids == ["reading-1", "reading-2"]
    assert [a["href"] for tag, a in page.elements if tag == "a"] == [f"#{name}" for name in ids]
    assert not [tag for tag, _ in Page(render_html([addition()], title="t")).elements if tag in ("a", "nav")]


def test_long_inputs_are_shown_around_the_position_and_whole_on_request() -> None:
    reading = text()
    source = render_fragment(reading)
    page = Page(source)
    nearest = reading["samples"][0]
    cells = page.rows("member")[0]
    match = next(cell for cell in cells if cell.get("class") == "match")
    assert match["text"] == "·" + nearest["tokens"][nearest["position"]].strip()
    assert "".join(tokens(cells)) == ""  # no columns of tokens
    assert page.rows("full")[1][0]["text"].startswith("<|bos|>")
    assert page.rows("full")[1][0]["text"].endswith("<|eos|>")
    assert len(source) < 3_000_000


def test_a_huge_reading_stays_small() -> None:
    reading = text(samples=300)
    reading["epsilon"] = 5.0
    for sample in reading["samples"]:
        sample["inside"] = True
    reading["counts"]["inside"] = 300
    page = Page(render_fragment(reading, limit=1000))
    assert OPEN < len(page.rows("member")) < 60
    assert "more not shown" in page.rows("divider")[0][0]["text"]


@pytest.mark.parametrize("reading", [addition(draws=60), text(length=60, samples=4)])
def test_a_sample_without_a_position_is_drawn_unmarked(reading: Reading) -> None:
    reading["samples"][0] |= {"position": -1, "distance": None, "inside": False, "in_domain": False}
    page = Page(render_fragment(reading))
    cells = next(cells for cells in page.rows("miss") if cells[0]["text"] == "–")
    assert not any("at" in (cell.get("class") or "").split() for cell in cells)


def test_no_members_is_said() -> None:
    reading = addition(draws=60)
    for sample in reading["samples"]:
        sample["inside"] = False
    reading["counts"]["inside"] = 0
    page = Page(render_fragment(reading))
    assert page.rows("member") == page.rows("shared") == []
    assert "no member was found" in page.rows("divider")[0][0]["text"]


def test_an_exact_reading_has_no_column_of_draws() -> None:
    assert "drawn" not in [cell["text"] for cell in Page(render_fragment(addition(exact=True))).tables[0][0]["cells"]]


def test_the_same_reading_gives_the_same_page() -> None:
    assert render_html([addition(), text(length=40)], title="t") == render_html(
        [addition(), text(length=40)], title="t"
    )
