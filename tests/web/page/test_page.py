"""The viewer in a browser: what a person does there."""

from __future__ import annotations

import re
from urllib.parse import parse_qs, urlparse

import pytest


def state(page):
    """What the address says."""
    return {name: values[-1] for name, values in parse_qs(urlparse(page.url).fragment).items()}


def pressed(page, box):
    return page.get_attribute(f'{box} [aria-pressed="true"]', "aria-label")


def test_the_first_visit_shows_a_reading_and_what_the_activation_knows(tab):
    tab.page.goto(f"{tab.address}/")
    assert tab.read() == 'a0.2 at "=" of 615+861=1476'
    assert tab.rows().startswith("880 inputs inside ε = 0.1")
    page = tab.page
    assert "cannot" not in page.inner_text("#what")
    assert page.inner_text("#what").startswith("Which inputs can the model not tell apart")
    assert page.locator(".chip").count() == 14
    assert pressed(page, ".chips").startswith("=, position 8")
    assert pressed(page, ".site-grid").startswith("a0.2, F1+S1: 3.88 of 3.88 bits")
    assert page.inner_text(".sentence").startswith('a0.2 at "=" knows ')
    assert "F1+S1 = 14" in page.inner_text(".sentence")
    assert {name: state(page)[name] for name in ("study", "input", "at", "site", "n", "seed")} == {
        "study": "addition", "input": "615+861=1476", "at": "=", "site": "a0.2", "n": "1000", "seed": "0",
    }  # fmt: skip


def test_the_site_grid_is_coloured_by_what_the_map_knows(tab):
    tab.page.goto(f"{tab.address}/")
    tab.read()
    page = tab.page
    page.wait_for_selector(".site.hue")  # the map comes in a request of its own
    known = page.locator('.site[data-site="a0.2"]')
    assert "F1+" in known.inner_text()
    assert "hue" in known.get_attribute("class").split()
    page.click('.chip:has-text("F2")')
    page.wait_for_selector('.site[data-site="a0.3"]:has-text("F2")')


def test_members_are_those_that_the_study_finds(tab, study):
    tab.open(seed=7)
    tab.read()
    found = study.preimage(study.query("500+990=1490", "=", "a0.0"), 60, seed=7, epsilon=0.4)
    tab.page.click("[data-order=nearest]")
    tab.page.wait_for_selector(".rows-said:has-text('nearest first')")
    rows = tab.page.locator(".row.member")
    shown = ["".join(rows.nth(i).locator(".tok").all_inner_texts())[1:-1] for i in range(min(5, found.n_inside))]
    assert shown == list(found.members[:5])
    assert float(rows.first.locator(".number").first.inner_text()) == pytest.approx(found.distances[0], abs=1e-3)


def test_a_position_and_a_site_are_chosen_and_gone_back_from(tab):
    page = tab.open().page
    tab.read()
    page.click(".chip >> nth=4")
    page.wait_for_selector(".reading-head h2:has-text('at \"+\"')")
    tab.read()
    page.click('.site[data-site="x0.post"]')
    page.wait_for_selector(".reading-head h2:has-text('x0.post at \"+\"')")
    assert (state(page)["at"], state(page)["site"]) == ("+", "x0.post")
    page.go_back()
    page.wait_for_selector(".reading-head h2:has-text('a0.0 at \"+\"')")
    page.go_back()
    page.wait_for_selector(".reading-head h2:has-text('a0.0 at \"=\"')")
    page.go_forward()
    page.wait_for_selector(".reading-head h2:has-text('a0.0 at \"+\"')")
    tab.read()


def test_the_slider_cuts_again_and_asks_nobody(tab):
    page = tab.open().page
    tab.read()
    before = tab.rows()
    asked = tab.count("/read")
    members = int(re.match(r"[\d,]+", before)[0])
    page.focus(".epsilon-range")
    for _ in range(12):
        page.keyboard.press("PageDown")
    page.wait_for_selector(".stale:not(:empty)")
    after = tab.rows()
    assert int(re.match(r"[\d,]+", after)[0]) < members
    assert f"ε = {page.inner_text('.epsilon-value')}" in after
    assert tab.count("/read") == asked
    assert state(page)["cut"] == page.inner_text(".epsilon-value")
    page.click("text=back to 0.4")
    page.wait_for_selector(f".rows-said:has-text('{before}')")
    assert "cut" not in state(page)
    page.evaluate("location.hash += '&cut=0.25'")
    page.wait_for_selector(".rows-said:has-text('ε = 0.25')")
    assert page.inner_text(".epsilon-value") == "0.25"
    assert tab.count("/read") == asked


def test_another_epsilon_can_be_asked_for(tab):
    page = tab.open().page
    tab.read()
    page.focus(".epsilon-range")
    page.keyboard.press("PageUp")
    chosen = page.inner_text(".epsilon-value")
    page.click("text=estimate size and bits here")
    page.wait_for_selector(f".reading-view:not(.partial) .rows-said:has-text('ε = {chosen}')")
    tab.read()
    assert state(page)["epsilon"] == chosen
    assert page.locator(".stale").inner_text() == ""


def test_numbers_are_there_for_who_points_at_a_token(tab):
    page = tab.open().page
    tab.read()
    page.hover(".row.sample >> nth=0 >> .tok >> nth=8")
    note = page.inner_text(".detail-note")
    assert re.fullmatch(
        r"“=” at =, index 8 · change [+−]\d\.\d\d · distance here [\d.]+ · the position that counts", note
    )
    assert page.locator(".detail .column").count() == page.locator(".row.sample >> nth=0 >> .tok").count()


def test_columns_and_fixed_positions_are_chosen_without_asking(tab):
    page = tab.open().page
    tab.read()
    asked = tab.count("/read")
    page.click("summary:has-text('columns')")
    page.check(".menu-body label:has-text('F1+S1') input")
    page.wait_for_selector(".labels .feature:has-text('F1+S1')")
    assert "F1+S1" in state(page)["columns"].split(",")
    first = page.locator(".row.member >> nth=0 >> .feature").last.inner_text()
    tokens = page.locator(".row.member >> nth=0 >> .tok").all_inner_texts()
    assert int(first) == int(tokens[1]) + int(tokens[5])
    page.select_option("select[id$='-at']", "4")
    page.wait_for_selector(".stale:has-text('the position chosen')")
    assert tab.count("/read") == asked


def test_pinned_readings_stand_side_by_side_with_their_differences(tab):
    page = tab.open(how="exact").page
    tab.read()
    page.click("text=Pin to compare")
    page.click('.site[data-site="x0.post"]')
    page.wait_for_selector(".reading-head h2:has-text('x0.post')")
    tab.read()
    page.click("text=Pin to compare")
    page.click(".view:has-text('Compare (2)')")
    assert page.locator(".compare-table thead th").count() == 2
    page.wait_for_selector(".compare-table .change")
    assert page.locator(".compare-table :is(.more, .less) .change").count() > 0
    address = page.url
    page.goto("about:blank")
    page.goto(address)
    page.wait_for_selector(".overlap-part >> nth=2")
    page.click("[aria-label='Unpin x0.post at =']")
    page.wait_for_selector(".view:has-text('Compare (1)')")


def test_a_hypothesis_is_tested(tab):
    page = tab.open().page
    tab.read()
    page.fill("input[id^='test']", "F1 == 5 and F2 + S2 == 9")
    page.click("button:has-text('Test')")
    page.wait_for_selector(".tests-view .verdict")
    assert re.search(r"It holds for [\d.<>]+% of \d+ member|Not tested", page.inner_text(".tests-view .verdict"))
    assert "random input" in page.inner_text(".tests-view") or "Not tested" in page.inner_text(".tests-view")
    page.fill("input[id^='test']", "nonsense + ")
    page.click("button:has-text('Test')")
    page.wait_for_selector(".panel .job-error")
    assert "nonsense" in page.inner_text(".panel .job-error")
    tab.wrong.clear()  # the browser tells of each answer that is no 200


def test_the_causal_check_stands_beside_the_reading(tab):
    page = tab.open().page
    tab.read()
    page.click("button:has-text('Check')")
    page.wait_for_selector(".causal-view")
    assert page.inner_text(".causal-view .verdict").startswith(("Used: ", "Not used: ", "Not known, "))
    assert page.locator(".causal-view table").count() >= 1


def test_exactly_all_inputs_and_what_the_draws_reached(tab):
    page = tab.open(n=40).page
    tab.read()
    page.click("button:has-text('Count')")
    page.wait_for_selector(".panel .verdict:has-text('were drawn')")
    page.click(".settings summary")
    page.select_option("select[id$='-how']", "exact")
    page.wait_for_selector(".answer-list:has-text('exactly')")
    tab.read()
    assert state(page)["how"] == "exact"
    assert page.locator("button:has-text('Count')").is_hidden()


def test_a_shared_address_shows_the_same(tab):
    page = tab.open(site="x0.post", at="S1", seed=9, cut=0.25, columns="F1,S1").page
    heading = tab.read()
    assert heading.startswith("x0.post at S1 of ")
    assert "ε = 0.25" in tab.rows()
    assert [name.strip() for name in page.locator(".labels .feature").all_inner_texts()] == ["F1", "S1"]
    address = page.url
    page.goto("about:blank")
    page.goto(address)
    assert tab.read() == heading
    assert page.url == address


def test_an_address_with_nonsense_opens_all_the_same(tab):
    page = tab.page
    page.goto(f"{tab.address}/#study=nothing&site=b7&view=elsewhere&n=abc&rule=maybe&pin=%26%26")
    assert tab.read().startswith('a0.2 at "="')
    assert state(page)["study"] == "addition"


def test_work_is_cancelled_and_asked_for_again(tab):
    page = tab.page
    page.route("**/read", lambda route: None)  # never answered, as by a busy model
    tab.open()
    page.click(".tab-line > .job >> text=Cancel")
    page.wait_for_selector(".tab-line > .job:has-text('Cancelled.')")
    page.unroute("**/read")
    page.click(".tab-line > .job >> text=Try again")
    assert tab.read().startswith('a0.0 at "="')


def test_work_of_the_model_is_stopped_when_the_page_goes(tab):
    import json
    import urllib.request

    page = tab.open(study="addition", input="615+861=1476", site="a0.2", n=200, epsilon="", seed=1).page
    tab.read()
    page.fill("input[id^='test']", "F1 == 6")
    page.check("input[id$='-all']")
    page.click("button:has-text('Test')")

    def running():
        with urllib.request.urlopen(f"{tab.address}/api/health") as answer:
            return json.load(answer)["running"]

    assert comes(running), "the question has reached the server"
    page.close()
    assert comes(lambda: not running(), seconds=15), "the whole test takes some 40"


def comes(is_so, seconds=60):
    """Whether this becomes true."""
    import time

    end = time.monotonic() + seconds
    while not is_so():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def test_a_wrong_input_is_said_where_it_was_typed(tab):
    page = tab.open().page
    tab.read()
    asked = tab.count("/read")
    page.fill(".ask .input-field", "500+990=1491")
    page.wait_for_selector(".ask .wrong:not(:empty)")
    assert "1490" in page.inner_text(".ask .wrong") or "500+990" in page.inner_text(".ask .wrong")
    assert page.get_attribute(".ask .input-field", "aria-invalid") == "true"
    assert tab.count("/read") == asked
    tab.wrong.clear()  # the browser tells of each answer that is no 200
    page.fill(".ask .input-field", "501+990=1491")
    page.press(".ask .input-field", "Enter")
    page.wait_for_selector(".reading-head h2:has-text('501+990=1491')")
    assert page.inner_text(".ask .wrong") == ""


def test_an_error_of_the_server_is_one_line_with_a_way_on(tab):
    page = tab.open(epsilon="null:7").page
    page.wait_for_selector(".tab-line > .job .job-error")
    assert "null" in page.inner_text(".job-error")
    tab.wrong.clear()
    page.click(".settings summary")
    page.fill("input[id$='-epsilon']", "0.4")
    page.press("input[id$='-epsilon']", "Enter")
    tab.read()
    assert page.locator(".job-error").count() == 0


def test_a_server_that_is_gone_is_said(tab):
    page = tab.open().page
    tab.read()
    page.route("**/api/**", lambda route: route.abort())
    page.click('.site[data-site="x0.post"]')
    page.wait_for_selector(".job-error:has-text('does not answer')")
    tab.wrong.clear()
    page.unroute("**/api/**")
    page.click(".tab-line > .job >> text=Try again")
    page.wait_for_selector(".reading-head h2:has-text('x0.post')")


def test_a_reading_is_taken_away_in_every_form(tab):
    page = tab.open().page
    tab.read()
    page.click("summary:has-text('Keep')")
    starts = {"JSON": b"{", "HTML": b"<!DOCTYPE html>", "SVG": b"<svg", "PNG": b"\x89PNG"}
    for words, start in starts.items():
        with page.expect_download() as download:
            page.click(f".menu-item:has-text('{words}')")
        with open(download.value.path(), "rb") as file:
            content = file.read()
        assert content.startswith(start), words
        assert download.value.suggested_filename == f"tiny-a0.0-=.{words.lower()}"
        if words == "SVG":
            assert b">500" not in content  # tokens are texts of their own
            assert content.count(b"<text") > 50


def test_the_map_leads_to_readings(tab):
    page = tab.open(study="addition", input="615+861=1476", site="a0.2", n=60, epsilon="", view="map").page
    page.wait_for_selector(".map-table")
    assert page.get_attribute(".map-cell[aria-pressed='true']", "aria-label").startswith("a0.2 at =: F1+S1")
    page.click(".map-cell[data-site='a0.3'][data-at='F2']")
    assert "bits about the whole input" in page.inner_text(".map-detail")
    page.click("text=read here")
    page.wait_for_selector(".reading-head h2:has-text('a0.3 at F2')")


def test_a_cell_of_the_map_is_put_into_words_where_it_is_pointed_at(tab):
    page = tab.open(view="map").page
    page.click(".empty >> text=map this input only")
    page.click(".map-cell[data-site='a0.0'][data-at='=']")
    page.click(".map-detail button:has-text('put it in words')")
    page.wait_for_selector(".map-detail .cell-words:has-text('In words: ')")
    said = page.inner_text(".map-detail .cell-words").removeprefix("In words: ")
    assert page.get_attribute(".map-cell[data-site='a0.0'][data-at='=']", "title") == said
    page.click(".map-cell[data-site='a0.1'][data-at='=']")
    assert page.locator(".map-detail .cell-words").count() == 0
    page.click(".map-cell[data-site='a0.0'][data-at='=']")
    assert page.inner_text(".map-detail .cell-words").endswith(said)


def test_a_reading_says_in_words_what_it_says(tab):
    page = tab.open(study="addition", input="615+861=1476", site="a0.2", n=1000, epsilon="").page
    tab.read()
    page.wait_for_selector(".answer-block:has(dt:text-is('IN WORDS')) p:has-text('F1 + S1 is 14')")
    assert "detection" in page.get_attribute(".answer-block:has(dt:text-is('IN WORDS')) p", "title")


def test_a_map_is_made_with_progress(tab):
    page = tab.open(view="map").page
    page.wait_for_selector("text=There is no map of this model yet")
    page.click(".empty >> text=map this input only")
    page.wait_for_selector(".map-table")
    assert page.locator(".map-cell").count() > 20


def test_all_heads_are_shown_and_lead_to_readings(tab, study):
    page = tab.open(view="attention").page
    page.wait_for_selector(".heat")
    heads = page.locator(".heat").count()
    assert heads == study.probed.n_layers * study.probed.n_heads
    assert page.locator(".heat.chosen").count() == 1
    page.click(".heat >> nth=1")
    page.click(".matrix button:has-text('read a0.1')")
    assert tab.read().startswith('a0.1 at "="')
    page.wait_for_selector(".head-row")


def test_everything_is_reached_by_keyboard_alone(tab):
    page = tab.open(how="exact").page
    tab.read()
    focus = "document.activeElement.matches"
    for _ in range(30):
        page.keyboard.press("Tab")
        if page.evaluate(f"{focus}('.chip')"):
            break
    assert page.evaluate("document.activeElement.getAttribute('aria-pressed')") == "true"
    page.keyboard.press("ArrowLeft")
    assert page.evaluate("document.activeElement.dataset.rove") == "7"
    page.keyboard.press("Enter")
    page.wait_for_selector(".reading-head h2:has-text('at S3')")
    assert page.evaluate(f"{focus}('.chip[aria-pressed=\"true\"]')"), "the focus stays where it was"
    page.keyboard.press("Tab")
    assert page.evaluate(f"{focus}('.site[aria-pressed=\"true\"]')")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Space")
    page.wait_for_selector(".reading-head h2:has-text('a0.1 at S3')")
    tab.read()
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate(f"{focus}('.table')"):
            break
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowRight")
    current = page.get_attribute(".table", "aria-activedescendant")
    assert page.get_attribute(f"#{current}", "data-row") == "0"
    assert "index 0" in page.inner_text(".detail-note")
    visited = set()
    for _ in range(80):
        page.keyboard.press("Tab")
        visited.add(page.evaluate("document.activeElement.textContent.trim().slice(0, 12)"))
        if page.evaluate("document.activeElement === document.body"):
            break
    assert {"Test", "Check", "all heads"} <= visited, "no trap before the end"


@pytest.mark.parametrize("tab", [{"viewport": {"width": 400, "height": 800}}], indirect=True)
def test_at_400_pixels_nothing_is_cut_off(tab):
    page = tab.open().page
    tab.read()
    for view in ("read", "map", "attention", "compare"):
        page.evaluate(f"document.querySelector('[data-view={view}]').click()")
        page.wait_for_timeout(50)
        assert page.evaluate("document.documentElement.scrollWidth") <= 400, view
    page.evaluate("document.querySelector('[data-view=read]').click()")
    box = page.locator(".row.sample >> nth=0 >> .tok").last.bounding_box()
    assert box["x"] + box["width"] <= 400


def test_the_theme_is_chosen_and_kept(tab):
    page = tab.open().page
    tab.read()
    background = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(background)
    page.click("text=Dark theme")
    dark = page.evaluate(background)
    assert dark != light
    page.reload()
    page.wait_for_selector("text=Light theme")
    assert page.evaluate(background) == dark


@pytest.mark.parametrize(
    "tab",
    [{"color_scheme": scheme, "bypass_csp": True, "viewport": {"width": width, "height": 900}}
     for scheme, width in (("light", 1280), ("dark", 1280), ("light", 400))],
    indirect=True, ids=["light", "dark", "narrow"],
)  # fmt: skip
def test_axe_finds_nothing(tab):
    """axe-core checks names, roles and contrast; its script may only run where the page's own policy is put aside."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe: install the extra dev").Axe()
    page = tab.open(study="addition", input="615+861=1476", site="a0.2", n=60, epsilon="").page
    tab.read()
    page.wait_for_selector(".head-row")
    page.evaluate("for (const box of document.querySelectorAll('.settings, .made-with')) box.open = true")
    views = ("read", "map", "attention", "compare") if page.viewport_size["width"] > 400 else ("read",)
    for view in views:
        page.evaluate(f"document.querySelector('[data-view={view}]').click()")
        page.wait_for_selector({"map": ".map-table", "attention": ".heat", "compare": ".empty"}.get(view, ".sample"))
        found = axe.run(page)
        said = [
            f"{one['id']}: {node['target']} {node['failureSummary']}"
            for one in found.response["violations"] for node in one["nodes"][:3]
        ]  # fmt: skip
        assert said == [], f"in {view}"
