"""The viewer around its readings: what it opens with, what it says of what is wrong, and that it keeps still."""

from __future__ import annotations

import re
import time

import pytest

from inversionview.studies.study import load_study
from tests.web.served import serving

WATCH = """() => {
    window.shifts = [];
    new PerformanceObserver((list) => window.shifts.push(...list.getEntries().map((entry) => entry.value)))
        .observe({ type: "layout-shift", buffered: true });
}"""
SUM = {"study": "addition", "input": "615+861=1476", "at": "=", "site": "a0.2", "n": 60, "epsilon": ""}


def shift(page):
    """How much has moved since the last time, those right after a click included."""
    page.wait_for_timeout(400)
    return page.evaluate("window.shifts.splice(0).reduce((sum, one) => sum + one, 0)")


def test_a_first_visit_is_few_requests_and_nothing_moves_then_or_after_a_click(tab):
    page = tab.page
    page.add_init_script(f"({WATCH})()")
    page.goto(f"{tab.address}/")
    tab.read()
    page.wait_for_selector(".site.hue")
    assert shift(page) <= 0.02
    assert len(tab.asked) <= 8, tab.asked
    page.route("**/read", lambda route: (time.sleep(0.5), route.continue_()))  # long enough for its progress to be seen
    for choice in ('.site[data-site="a0.3"]', ".chip >> nth=4"):
        page.click(choice)
        page.wait_for_selector(".tab-line .job:has-text('Cancel')")
        tab.read()
        assert shift(page) <= 0.01


def test_the_first_view_is_answered_before_it_is_asked_for(browser):
    with serving(load_study("addition"), ahead=True) as client:
        while client.get("/api/health").json()["running"]:
            time.sleep(0.1)
        page, answers = browser.new_page(), []

        def look(route):  # the browser itself lets go of an answer as soon as the page has read it
            answer = route.fetch()
            answers.append(answer.text())
            route.fulfill(response=answer)

        page.route("**/read", look)
        page.goto(str(client.base_url))
        page.wait_for_selector(".reading-view:not(.partial) .sample")
        page.close()
    assert '"cached":true' in answers[0]


def test_an_address_says_what_it_lacks_and_what_is_shown(tab):
    page = tab.page
    page.goto(f"{tab.address}/#study=nothing&input=1&at=x&site=b7")
    tab.read()
    said = page.inner_text(".notice")
    assert (
        said == "The address asks for the study “nothing”, which is not served here: this is addition, where it starts."
    )
    tab.open(**SUM | {"site": "a9.9", "at": "Q7"})
    tab.read()
    page.wait_for_selector(".notice p >> nth=1")
    first, second = page.locator(".notice p").all_inner_texts()
    assert first == "addition has no site “a9.9”: this is a0.2."
    assert second == "“Q7” is no position of this input that can be read: this is the last one, A4."
    assert "at=Q7" not in page.url
    page.click('.site[data-site="a0.3"]')
    page.wait_for_selector(".reading-head h2:has-text('a0.3')")
    assert page.inner_text(".notice") == ""


def test_a_wrong_sum_offers_the_right_one_and_nothing_is_asked_about_it(tab):
    page = tab.open(**SUM | {"input": "615+861=1477"}).page
    page.wait_for_selector("h2:has-text('This input cannot be read')")
    tab.wrong.clear()  # the browser tells of each answer that is no 200
    assert page.locator("button:has-text('Test'), button:has-text('Check')").count() == 0
    assert page.locator(".ask .wrong button").inner_text() == "615+861=1476"
    page.click("button:has-text('Read 615+861=1476')")
    tab.read()
    assert "615%2B861%3D1476" in page.url
    page.fill(".ask .input-field", "615+861=99")
    page.press(".ask .input-field", "Enter")
    page.hover(".ask .wrong button:has-text('615+861=1476')")
    with page.expect_response("**/tokens"):  # of the field that is left; its answer comes while the button is down
        page.mouse.down()
    page.wait_for_timeout(200)
    page.mouse.up()
    page.wait_for_selector(".ask .wrong:empty", state="attached")
    assert page.input_value(".ask .input-field") == "615+861=1476"
    tab.wrong.clear()


def test_a_mistyped_hypothesis_waits_behind_nothing(tab):
    page = tab.open().page
    tab.read()
    page.fill("input[id^='test']", "F1 = = 5")
    with page.expect_response("**/test") as answer:
        page.click("button:has-text('Test')")
    assert answer.value.status == 422
    page.wait_for_selector(".panel .job-error:has-text('F1 = = 5')")
    tab.wrong.clear()


def test_a_test_that_another_click_ends_says_so(tab):
    page = tab.open().page
    tab.read()
    page.route("**/test", lambda route: None)  # never answered, as by a busy model
    page.fill("input[id^='test']", "F1 == 5")
    page.click("button:has-text('Test')")
    page.wait_for_selector(".panel .job:has-text('Cancel')")
    page.click('.site[data-site="x0.post"]')
    page.wait_for_selector(".panel .job:has-text('another reading was asked for')")
    page.click('.site[data-site="a0.0"]')
    page.wait_for_selector(".reading-head h2:has-text('a0.0')")
    assert page.locator(".panel .job:has-text('Ended')").count() == 0, "it is said once"


@pytest.mark.parametrize("close", ["Escape", "outside"])
def test_menus_close(tab, close):
    page = tab.open().page
    tab.read()
    page.click("summary:has-text('Keep')")
    page.wait_for_selector(".keep[open]")
    if close == "Escape":
        page.keyboard.press("Escape")
        assert page.evaluate("document.activeElement.matches('.keep > summary')")
    else:
        page.click("h1")
    page.wait_for_selector(".keep:not([open])")


def test_what_was_not_measured_is_not_called_little(browser):
    with serving(load_study("counting")) as client:
        page = browser.new_page()
        page.route("**/read", lambda route: None)
        page.goto(f"{client.base_url}/#study=counting&input=vvzccvczvvvzvcvc|v:8&at=letter&site=x0.post")
        page.wait_for_selector(".site.hue, .site.given")
        page.wait_for_selector(".site-said:has-text('not measured')")
        said = page.inner_text(".site-said")
        assert re.search(r"x0\.post .*: not measured: \d+ of \d+ queries had under", said), said
        assert page.locator('.site[data-site="x0.post"]').inner_text() == "?"
        assert "little" not in said
        page.close()


def test_features_of_how_inputs_are_written_are_shown_only_where_they_are_asked_for(tab, monkeypatch):
    page = tab.page
    asked = []
    page.on(
        "request", lambda request: request.url.endswith("/read") and asked.append(request.post_data_json["columns"])
    )

    def mark(route):
        answer = route.fetch()
        document = answer.json()
        document["studies"][0]["features"][0]["unasked"] = True
        route.fulfill(response=answer, json=document)

    page.route("**/api/studies", mark)
    page.goto(f"{tab.address}/#study=addition&n=50")
    tab.read()
    page.click(".settings summary")
    page.check("input[id$='-unasked']")
    page.wait_for_selector('.reading-card[aria-busy="true"]')
    tab.read()
    assert ["F1" in names for names in asked] == [False, True]
    assert "unasked=yes" in page.url


def test_a_map_is_asked_where_one_feature_is(tab):
    page = tab.open(**SUM | {"view": "map"}).page
    page.wait_for_selector(".map-table")
    page.click(".feature-choice[data-feature='F1+S1']")
    page.wait_for_selector(".map-known:has-text('known from a0.2 at =')")
    assert "feature=F1" in page.url
    page.reload()
    page.wait_for_selector(".feature-choice[data-feature='F1+S1'][aria-pressed='true']")


def test_compared_readings_say_what_both_have_and_what_each_has_alone(tab):
    from urllib.parse import urlencode

    pins = [urlencode({**SUM, "site": site, "how": "sampled"}) for site in ("a0.2", "a0.3")]
    page = tab.page
    page.goto(f"{tab.address}/#{urlencode([*SUM.items(), ('view', 'compare'), *(('pin', pin) for pin in pins)])}")
    page.wait_for_selector(".overlap-part >> nth=2")
    names = [" ".join(name.split()) for name in page.locator(".overlap-part h4").all_inner_texts()]
    assert names == ["In both", "Only in a0.2 at =", "Only in a0.3 at ="]
    both, _, second = page.locator(".overlap-part").all()
    assert "6··+8··" in both.inner_text()
    assert both.locator(".compare-input").count() >= 3
    assert re.search(r"by weight \d+% of the second", second.inner_text())
    rows = page.locator(".compare-words th").all_inner_texts()
    assert rows == ["says", "in words", "members", "near misses"]
    assert page.locator(".compare-said").first.inner_text().startswith('a0.2 at "=" knows')
    assert page.locator(".compare-miss").count() >= 3
    lefts = page.evaluate(
        "[...document.querySelectorAll('.compare-table tr')].map((row) => row.cells[2].getBoundingClientRect().left)"
    )
    assert max(lefts) - min(lefts) < 1, "the columns are aligned"
