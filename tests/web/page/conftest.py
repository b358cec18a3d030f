"""A browser, a server that it opens, and pages that fail a test when their scripts do."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from inversionview.studies.study import load_study
from tests.web.served import serving

ARGUMENTS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-quic", "--disable-dev-shm-usage",
]  # fmt: skip
SECONDS = 60


def chromium() -> Path | None:
    """Debian's Chromium, or the one that INVERSIONVIEW_CHROMIUM names."""
    named = os.environ.get("INVERSIONVIEW_CHROMIUM") or shutil.which("chromium")
    return Path(named) if named and Path(named).exists() else None


@pytest.fixture(scope="module")
def browser():
    """One Chromium for all tests of a file; no longer, because an event loop runs in this thread while it is open."""
    api = pytest.importorskip("playwright.sync_api", reason="playwright drives the browser: install the extra dev")
    if chromium() is None:
        pytest.skip("there is no Chromium here: `apt-get install chromium`, which `make test` does where it may")
    with api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=chromium(), args=ARGUMENTS)
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def address(study):
    """The address of a server of the bundled addition study and of a tiny one."""
    with serving(load_study("addition"), study) as client:
        yield str(client.base_url).rstrip("/")


class Tab:
    """A page of the viewer, with what went wrong in it."""

    def __init__(self, page, address):
        self.page, self.address = page, address
        self.wrong: list[str] = []
        self.asked: list[str] = []
        page.set_default_timeout(1000 * SECONDS)
        page.on("pageerror", lambda error: self.wrong.append(str(error)))
        page.on("console", lambda message: message.type == "error" and self.wrong.append(message.text))
        page.on("request", lambda request: self.asked.append(f"{request.method} {request.url}"))

    def open(self, **state):
        """The page in a state; of the tiny study, unless it says another one."""
        from urllib.parse import urlencode

        tiny = {"study": "tiny", "input": "500+990=1490", "at": "=", "site": "a0.0", "n": 60, "epsilon": 0.4}
        pins = [("pin", urlencode(pin)) for pin in state.pop("pins", [])]
        self.page.goto("about:blank")  # else only the part after # would change, and nothing be loaded
        self.page.goto(f"{self.address}/#{urlencode([*(tiny | state).items(), *pins])}")
        return self

    def read(self):
        """Wait for a whole reading; where it is of."""
        self.page.wait_for_selector('.reading-card[aria-busy="false"] .reading-view:not(.partial) .sample')
        return self.page.inner_text(".reading-head h2")

    def rows(self):
        """What is said of the rows."""
        return self.page.inner_text(".rows-said")

    def count(self, kind):
        return sum(kind in asked for asked in self.asked)


@pytest.fixture
def tab(browser, address, request):
    """A page of its own, 1,280 wide unless the test is marked otherwise; nothing may go wrong in it."""
    options = {"viewport": {"width": 1280, "height": 900}} | getattr(request, "param", {})
    context = browser.new_context(**options)
    opened = Tab(context.new_page(), address)
    yield opened
    context.close()
    assert opened.wrong == []
