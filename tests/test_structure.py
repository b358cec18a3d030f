"""The shape of the house: who may import whom, and what must not be imported before it is needed."""

from __future__ import annotations

import ast
import importlib.metadata
import subprocess
import sys
from pathlib import Path

import pytest

import inversionview
from research import structure
from tests.paths import ROOT

SOURCE = ROOT / "src" / "inversionview"
GROUND = (
    "errors",
    "criterion",
    "files",
    "hub",
    "imports",
    "sites",
    "shapes",
    "expressions",
    "progress",
    "registry",
    "seeds",
    "results",
    "report",
    "training",
)
GROUND_FOR_ALL = ("errors", "criterion", "files", "imports", "sites", "shapes", "seeds", "results", "progress")
HOUSE = ("probed", "tasks", "bank", "decoder", "preimage", "reading", "causal", "studies", "web", "cli")
FRONT_DOOR = ("__init__", "__main__")
"""They hand on names of every part, and may know all of them."""
LIGHT = ("inversionview", "inversionview.cli", "inversionview.sites", "inversionview.errors", "inversionview.files",
         "inversionview.report.page", "inversionview.report.terminal", "inversionview.studies.description",
         "inversionview.studies.recipes", "inversionview.studies.settings",
         "inversionview.results.preimage")  # fmt: skip
HEAVY = ("torch", "transformers", "accelerate", "huggingface_hub", "safetensors", "pandas", "pyarrow")


NOT_FOR_HELP = {*HEAVY, "rich", "numpy"}


def part_of(module: str) -> str:
    names = module.split(".")
    name = names[1] if len(names) > 1 else "__init__"
    return name


def imports_of(path: Path, package: str) -> set[str]:
    """What a file imports of ours, name by name: at its top, within functions and for types alone."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                base = ".".join(filter(None, [*package.split(".")[: len(package.split(".")) - node.level + 1], base]))
            names |= {f"{base}.{alias.name}" for alias in node.names}
    return {name for name in names if name.split(".")[0] == "inversionview"}


def rank(part: str) -> int:
    return HOUSE.index(part) + 1 if part in HOUSE else 0


def breaches(source: Path = SOURCE) -> list[str]:
    """Imports that go right, or sideways between ground-floor parts."""
    found = []
    for path in sorted(source.rglob("*.py")):
        module = ".".join(["inversionview", *path.relative_to(source).with_suffix("").parts])
        part, package = part_of(module), module.rpartition(".")[0]
        if part in FRONT_DOOR:
            continue
        for name in imports_of(path, package):
            other = part_of(name)
            below = GROUND_FOR_ALL if part in GROUND else (*GROUND, "__version__")
            if other not in (part, *below) and not 0 < rank(other) < rank(part):
                found.append(f"{module} imports {name}")
    return found


def test_every_part_has_a_place_in_the_house():
    parts = {path.stem for path in SOURCE.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert {part for part in parts if not rank(part_of(f"x.{part}"))} <= {*GROUND, *FRONT_DOOR}


def test_a_module_imports_only_from_its_left():
    house = " | ".join([" ".join(GROUND), *HOUSE])
    broken = breaches()
    assert not broken, f"the layers, from left to right, are {house}; this breaks them: {'; '.join(broken)}"


def test_no_two_files_import_each_other():
    broken = [" > ".join(circle) for circle in structure.circles(structure.imports(structure.read(SOURCE)))]
    assert not broken, f"these files import each other in a circle: {'; '.join(broken)}"


def test_no_test_module_imports_from_another():
    """What several need is a helper beside them or a fixture in `conftest.py`."""
    broken = []
    for path in sorted((ROOT / "tests").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("tests"):
                names = [*str(node.module).split("."), *(alias.name for alias in node.names)]
                if any(name.startswith("test_") for name in names):
                    broken.append(f"{path.relative_to(ROOT)} imports from {node.module}")
    assert broken == []


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("probed/x.py", "from inversionview.tasks.base import Task"),
        ("probed/x.py", "def f():\n    import inversionview.decoder.model"),
        ("tasks/x.py", "from inversionview import preimage"),
        ("report/x.py", "from inversionview.training import train"),
        ("report/x.py", "from inversionview.probed import model"),
        ("preimage/x.py", "from ..reading import attribution"),
        ("files.py", "from inversionview.report import page"),
        ("studies/x.py", "import inversionview as iv"),
    ],
)
def test_the_rule_sees_what_breaks_it(tmp_path, file, line):
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_text(line)
    assert len(breaches(tmp_path)) == 1


def test_the_rule_lets_pass_what_keeps_it(tmp_path):
    (tmp_path / "preimage").mkdir()
    (tmp_path / "preimage" / "x.py").write_text(
        "import os\nfrom inversionview.tasks import Task\nfrom .result import Query\nfrom ..sites import Site\n"
        "from inversionview.report.reading import Reading\n"
    )
    assert breaches(tmp_path) == []


def test_nothing_heavy_is_imported_before_it_is_needed():
    code = (
        "import importlib, sys\n"
        f"for module in {LIGHT!r}:\n"
        "    importlib.import_module(module)\n"
        f"    assert not set(sys.modules) & {set(HEAVY)!r}, module"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr == ""


def test_help_needs_nothing_heavy():
    code = (
        "import sys; from inversionview.cli import main; code = main(['read', '--help']); "
        f"assert code == 0; sys.exit(' '.join(sorted(set(sys.modules) & {NOT_FOR_HELP!r})))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.strip() == ""
    assert "--position-rule" in done.stdout


NOT_FOR_READING = {*HEAVY, "sympy", "torch._dynamo", "torch.distributed.tensor", "sklearn", "IPython", "matplotlib"} - {
    "torch", "safetensors",
}  # fmt: skip


def test_a_reading_of_a_bundled_study_imports_no_library_of_models():
    """They take more than half of the seconds until a reading is there."""
    command = ["read", "addition", "615+861=1476", "--at", "=", "--site", "a0.0", "-n", "50"]
    code = (
        f"import sys; from inversionview.cli import main; code = main({command!r}); "
        f"print('imports', *sorted(set(sys.modules) & {NOT_FOR_READING!r})); sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "MEMBERS" in done.stdout
    assert done.stdout.splitlines()[-1] == "imports"


def test_the_public_names_are_there_and_are_the_real_ones():
    from inversionview.probed.model import ProbedModel
    from inversionview.sites import Site

    assert inversionview.ProbedModel is ProbedModel
    assert inversionview.Site is Site
    for name in inversionview.__all__:
        assert getattr(inversionview, name).__name__ == name
        assert name in dir(inversionview)
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = inversionview.Nothing


def test_the_version_is_the_packages():
    assert inversionview.__version__ == importlib.metadata.version("inversionview")
