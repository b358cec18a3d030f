"""The modules of the page as one script."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from inversionview.report import bundle
from tests.paths import ROOT

STATIC = ROOT / "src" / "inversionview" / "report" / "static"
PAGE = ROOT / "src" / "inversionview" / "web" / "static"
MODULES = sorted([*STATIC.glob("*.js"), *PAGE.glob("*.js")])


def checked(source: str, kind: str = "module") -> str:
    """What node has against a script; empty where it is well formed."""
    beside = Path(sys.executable).with_name("node")  # of the extra dev
    node = str(beside) if beside.exists() else shutil.which("node")
    if not node:
        pytest.skip("there is no node here to read JavaScript: install the extra dev")
    done = subprocess.run(
        [node, "--check", f"--input-type={kind}"], input=source, capture_output=True, text=True, check=False
    )
    return done.stderr


@pytest.mark.parametrize("path", MODULES, ids=lambda path: f"{path.parent.parent.name}/{path.name}")
def test_every_module_is_well_formed(path: Path) -> None:
    assert checked(path.read_text(encoding="utf-8")) == ""


def test_the_check_sees_what_is_not_well_formed() -> None:
    assert "SyntaxError" in checked("export function f( {")


def test_the_bundle_is_one_module_that_needs_no_other() -> None:
    source = bundle.module("drawn")
    assert checked(source) == ""
    assert not re.search(r"^import\b", source, re.MULTILINE)
    assert source.count("export ") == 1
    assert "</script" not in source


def test_modules_come_before_those_that_need_them_and_once() -> None:
    order = re.findall(r"^const (_\w+) = \(\(\) => \{$", bundle.script("drawn"), re.MULTILINE)
    assert len(order) == len(set(order)) > 10
    for path in STATIC.glob("*.js"):
        name = "_" + path.stem.replace("-", "_")
        for needed in re.findall(
            r'^import .* from "\./([\w-]+)\.js";$', path.read_text(encoding="utf-8"), re.MULTILINE
        ):
            if name in order:
                assert order.index("_" + needed.replace("-", "_")) < order.index(name)


def test_the_same_modules_give_the_same_bundle() -> None:
    first = bundle.script("drawn")
    bundle.script.cache_clear()
    assert bundle.script("drawn") == first


def test_an_export_that_the_bundle_does_not_know_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundle, "_text", lambda name: "export default 3;\n")
    with pytest.raises(ValueError, match="export default 3"):
        bundle.script("nothing-like-it")


def test_nothing_on_the_page_makes_markup_of_text() -> None:
    for path in MODULES:
        source = path.read_text(encoding="utf-8")
        for forbidden in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function"):
            assert forbidden not in source, f"{path.name} uses {forbidden}"


def test_nothing_on_the_page_comes_from_the_net() -> None:
    for path in [*MODULES, *STATIC.glob("*.css"), *PAGE.glob("*.css"), PAGE / "index.html"]:
        found = re.findall(r"https?://[^\s\"'`)]*", path.read_text(encoding="utf-8"))
        assert set(found) <= {"http://www.w3.org/2000/svg"}, path.name


def test_no_module_imports_what_it_does_not_use() -> None:
    for path in MODULES:
        source = path.read_text(encoding="utf-8")
        for names in re.findall(r"^import \{([^}]*)\}", source, re.MULTILINE):
            for name in filter(None, (part.strip() for part in names.split(","))):
                assert len(re.findall(rf"\b{name}\b", source)) > 1, f"{path.name} imports {name}"
