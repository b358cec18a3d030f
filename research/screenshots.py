"""Takes the pictures of the viewer that the documentation shows: `python -m research.screenshots`.

It serves the bundled studies, opens their readings in Chromium, and writes PNG files to `docs/images`; and
`docs/reading.png`, of a page that `inversionview read --html` writes. It needs the extra `dev` and Chromium (`apt-get
install chromium`, or INVERSIONVIEW_CHROMIUM names one).
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode

from research.paths import DOCS, ROOT

FOLDER = DOCS / "images"
LARGEST = 300_000
"""Bytes of a picture."""
SECONDS = 120
STUDY = {"study": "addition", "input": "615+861=1476", "at": "=", "site": "a0.2", "n": 1000, "seed": 0}
READ = '.reading-card[aria-busy="false"] .reading-view:not(.partial) .sample'


class Picture(NamedTuple):
    """A view to be photographed."""

    name: str
    state: dict[str, Any]
    ready: str
    """What has to be on the page."""
    pins: tuple[dict[str, Any], ...] = ()
    before: Callable[[Any], None] | None = None
    """What is done on the page first."""
    width: int = 1280
    height: int = 900
    dark: bool = False


def _point(page: Any) -> None:
    page.wait_for_selector(".site.hue")
    page.hover(".row.sample >> nth=3 >> .tok >> nth=5")


def _below(page: Any) -> None:
    page.wait_for_selector(".head-row")
    page.fill("input[id^='test']", "F1 + S1 == 14")
    page.click("button:has-text('Test')")
    page.wait_for_selector(".tests-view")
    page.click("button:has-text('Check')")
    page.wait_for_selector(".causal-view")
    page.evaluate("document.querySelector('.panels').scrollIntoView()")


def _to_table(page: Any) -> None:
    page.hover(".row.sample >> nth=3 >> .tok >> nth=5")
    page.evaluate("document.querySelector('.rows-box').scrollIntoView()")


def _mapped(page: Any) -> None:
    page.wait_for_selector(".site.hue")


PICTURES = (
    Picture("viewer", STUDY, READ, before=_point, height=1080),
    Picture("viewer-map", STUDY | {"view": "map"}, ".map-table", before=_mapped, height=860),
    Picture(
        "viewer-compare",
        STUDY | {"view": "compare"},
        ".overlap-part >> nth=2",
        pins=(STUDY, STUDY | {"site": "a0.3"}),
        before=_mapped,
        height=960,
    ),
    Picture("viewer-test", STUDY, READ, before=_below, height=1020),
    Picture("viewer-attention", STUDY | {"view": "attention"}, ".heat", before=_mapped, dark=True),
    Picture("viewer-narrow", STUDY, READ, before=_to_table, width=400, height=1000),
)


def main(args: Sequence[str] | None = None) -> int:
    """Take all pictures, or those that are named; the number of those that came out too large."""
    from playwright.sync_api import sync_playwright

    names = sys.argv[1:] if args is None else args
    large = 0
    with serving() as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=os.environ.get("INVERSIONVIEW_CHROMIUM") or shutil.which("chromium"),
            args=["--headless", "--no-sandbox", "--disable-gpu"],
        )
        for picture in PICTURES:
            if not names or picture.name in names:
                large += too_large(take(browser, address, picture))
        if not names or "reading" in names:
            large += too_large(take_saved(browser))
        browser.close()
    return large


def too_large(file: Path) -> bool:
    """Say how large a picture is, and whether that is too much."""
    size = file.stat().st_size
    print(f"{file.relative_to(ROOT)}: {size:,} bytes")
    return size > LARGEST


def take_saved(browser: Any) -> Path:
    """Take the picture of a saved reading."""
    from inversionview.cli import main as program

    file = DOCS / "reading.png"
    with tempfile.TemporaryDirectory() as folder:
        saved = Path(folder) / "reading.html"
        program(["read", "addition", "615+861=1476", "--at", "=", "--site", "a0.2", "--html", str(saved)])
        page = browser.new_page(viewport={"width": 1060, "height": 700}, reduced_motion="reduce")
        page.goto(saved.as_uri())
        page.hover(".row.sample >> nth=3 >> .tok >> nth=5")
        page.screenshot(path=file, full_page=True)
        page.close()
    return file


def take(browser: Any, address: str, picture: Picture) -> Path:
    """Take one picture; its file."""
    page = browser.new_page(
        viewport={"width": picture.width, "height": picture.height},
        color_scheme="dark" if picture.dark else "light",
        reduced_motion="reduce",
    )
    page.set_default_timeout(1000 * SECONDS)
    pins = [("pin", urlencode(pin)) for pin in picture.pins]
    page.goto(f"{address}/#{urlencode([*picture.state.items(), *pins])}")
    page.wait_for_selector(picture.ready)
    if picture.before:
        picture.before(page)
    page.wait_for_timeout(300)
    FOLDER.mkdir(exist_ok=True)
    file = FOLDER / f"{picture.name}.png"
    page.screenshot(path=file)
    page.close()
    return file


@contextmanager
def serving() -> Iterator[str]:
    """The address of a server of the bundled studies, on a free port."""
    import uvicorn

    from inversionview.studies.study import load_study
    from inversionview.web.app import make_app
    from inversionview.web.serve import listen
    from inversionview.web.settings import Settings

    listening = listen("127.0.0.1", 0)
    port = listening.getsockname()[1]
    app = make_app([load_study("addition"), load_study("counting")], Settings("127.0.0.1", port))
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join()


if __name__ == "__main__":
    sys.exit(main())
