"""What a fresh machine gets: the wheel, the pinned versions, and the two commands of the Makefile."""

from __future__ import annotations

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import inversionview
from tests.paths import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
SOURCE = ROOT / "src" / "inversionview"


def pins():
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    return {canonicalize_name(name): Version(version) for name, _, version in (line.partition("==") for line in lines)}


def test_constraints_are_exact_versions_and_nothing_else():
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        assert line.startswith("# ") or re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][A-Za-z0-9.]*", line), line


def test_every_dependency_is_pinned_within_its_bounds():
    extras = PROJECT["optional-dependencies"]
    asked = [*PROJECT["dependencies"], *(line for name in extras if name != "track" for line in extras[name])]
    for requirement in map(Requirement, asked):
        if requirement.name != "inversionview":
            assert requirement.specifier.contains(pins()[canonicalize_name(requirement.name)]), requirement


def test_what_dependencies_need_is_pinned_too():
    """Or exactly by the package that needs it, as torch does for CUDA."""
    seen, unpinned = set(), set()

    def visit(name, extras):
        if (name, extras) in seen:
            return
        seen.add((name, extras))
        for requirement in map(Requirement, importlib.metadata.requires(name) or []):
            needed = requirement.marker is None or any(
                requirement.marker.evaluate({"extra": extra}) for extra in (*extras, "")
            )
            exact = any(clause.operator == "==" for clause in requirement.specifier)
            other = canonicalize_name(requirement.name)
            if needed and not exact and other != "inversionview":
                unpinned.update({other} - pins().keys())
                visit(other, tuple(sorted(requirement.extras)))

    visit("inversionview", ("dev", "notebook", "parquet"))
    assert len(seen) > 50
    assert unpinned == set()


def test_the_wheel_has_all_that_is_needed_and_no_more(tmp_path):
    pytest.importorskip("hatchling", reason="hatchling builds the wheel: install the extra dev")
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path)]
    done = subprocess.run(build, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        scripts = archive.read(next(name for name in names if name.endswith("entry_points.txt"))).decode()
        metadata = archive.read(next(name for name in names if name.endswith("METADATA"))).decode()
    files = {f"inversionview/{path.relative_to(SOURCE).as_posix()}" for path in SOURCE.rglob("*") if path.is_file()}
    assert {name for name in names if ".dist-info/" not in name} == {
        name for name in files if "__pycache__" not in name
    }
    assert "inversionview/py.typed" in names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert "inversionview = inversionview.cli:main" in scripts
    assert "License-Expression: Apache-2.0" in metadata


def test_the_citation_is_of_this_version_and_names_the_paper():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    paper = citation["preferred-citation"]
    assert citation["version"] == inversionview.__version__ == PROJECT["version"]
    assert f"## {inversionview.__version__}" in (ROOT / "CHANGELOG.md").read_text()
    assert [author["family-names"] for author in paper["authors"]] == ["Huang", "Panwar", "Goyal", "Hahn"]
    assert paper["identifiers"][0]["value"] == "arXiv:2405.17653"


def test_the_licence_is_the_one_that_is_named():
    text = (ROOT / "LICENSE").read_text()
    assert PROJECT["license"] == "Apache-2.0"
    assert "Apache License\n                           Version 2.0, January 2004" in text
    assert len(text) > 11_000


@pytest.fixture
def checkout(tmp_path):
    """What make looks at, with an environment that is up to date."""
    if not shutil.which("make"):
        pytest.skip("there is no make here")
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path / name)
        os.utime(tmp_path / name, (1000, 1000))
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    for name in ("bin/pip", ".installed", ".installed-dev"):
        (tmp_path / ".venv" / name).touch()
        os.utime(tmp_path / ".venv" / name, (2000, 2000))
    return tmp_path


def make(folder, *args):
    ours = ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "ARGS", "PYTHON")  # of the make that runs these tests
    environment = {name: value for name, value in os.environ.items() if name not in ours}
    return subprocess.run(["make", *args], cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("target", "only"),
    [
        ("demo", ".venv/bin/inversionview demo"),
        ("test", ".venv/bin/python -m pytest"),
        ("test-all", ".venv/bin/python -m pytest"),
    ],
)
def test_what_is_installed_is_not_installed_again(checkout, target, only):
    (line,) = make(checkout, "-n", target).stdout.splitlines()
    assert line.startswith(only)


@pytest.mark.parametrize("changed", ["pyproject.toml", "constraints.txt"])
def test_what_has_changed_is_installed_again(checkout, changed):
    os.utime(checkout / changed, (3000, 3000))
    lines = make(checkout, "-n", "demo").stdout.splitlines()
    assert lines[0] == ".venv/bin/python -m pip install --constraint constraints.txt --editable '.[web]'"
    assert lines[-1] == ".venv/bin/inversionview demo"
    assert "--editable '.[dev]'" in make(checkout, "-n", "test").stdout


def test_a_python_that_is_too_old_is_said_and_named(checkout):
    shutil.rmtree(checkout / ".venv")
    old = checkout / "old-python"
    old.write_text("#!/bin/sh\n[ \"$1\" = --version ] && echo 'Python 3.9.2' && exit 0\nexit 1\n")
    old.chmod(0o755)
    done = make(checkout, f"PYTHON={old}", "demo")
    assert done.returncode == 2
    assert "needs Python 3.11 or newer, but found: Python 3.9.2" in done.stderr


def test_what_ci_runs_is_a_program():
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert subprocess.run(["sh", "-n", str(script)], check=False).returncode == 0
