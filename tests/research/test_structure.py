"""The figures of a made-up house, each counted by hand."""

from __future__ import annotations

import pytest

from research import structure
from tests.paths import ROOT


@pytest.fixture
def house(tmp_path):
    """A package with a circle through a function's import, and one through a relative import for types."""
    files = {
        "__init__.py": "",
        "plain.py": "import os\nfrom house import rooms\n",
        "rooms/__init__.py": "from house.rooms.a import f\n",
        "rooms/a.py": "def f(a, b, c, d, e, *, g):\n    from house.rooms import b\n    found = b\n    return found\n",
        "rooms/b.py": "if TYPE_CHECKING:\n    from .c import K\nx = 1  # type: ignore[misc]\n",
        "rooms/c.py": "from . import a\n\n\nclass K:\n    def m(self, a, b, c, d, e, f):\n        pass\n",
        "up.py": "from .down import x\nfrom .rooms.a import f\n",
        "down.py": "import house.up\n",
    }
    for name, text in files.items():
        (tmp_path / "house" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "house" / name).write_text(text)
    return tmp_path / "house"


def test_what_is_counted_of_a_folder(house):
    counted = structure.figures(structure.read(house))
    assert (counted.lines, counted.files, counted.type_ignores, counted.vague_names) == (19, 8, 1, 2)
    assert counted.many_positional == ["house.rooms.c.m"], "self is none of six, and what follows * is not positional"
    assert counted.longest_class == (3, "house.rooms.c.K")
    assert counted.longest_function == (4, "house.rooms.a.f")


def test_imports_are_seen_wherever_they_stand(house):
    graph = structure.imports(structure.read(house))
    assert graph["house.plain"] == {"house.rooms"}
    assert graph["house.rooms.a"] == {"house.rooms.b"}
    assert graph["house.rooms.b"] == {"house.rooms.c"}
    assert graph["house.rooms.c"] == {"house.rooms.a"}
    assert graph["house.up"] == {"house.down", "house.rooms.a"}


def test_circles_are_told_in_the_order_of_their_imports(house):
    assert structure.circles(structure.imports(structure.read(house))) == [
        ["house.down", "house.up", "house.down"],
        ["house.rooms.a", "house.rooms.b", "house.rooms.c", "house.rooms.a"],
    ]
    (house / "rooms" / "c.py").write_text("")
    (house / "down.py").write_text("")
    assert structure.circles(structure.imports(structure.read(house))) == []


def test_folders_stand_side_by_side(house, capsys):
    assert structure.main([str(house), str(ROOT / "research")]) == 2
    table, _, ways = capsys.readouterr().out.partition("\n\n")
    assert table.splitlines()[0] == f"| | {house} | {ROOT / 'research'} |"
    assert "| type-ignores | 1 | " in table
    assert ways.splitlines()[0] == "house.down → house.up → house.down"


def test_research_and_benchmarks_have_no_circles():
    for folder in ("research", "benchmarks"):
        assert structure.figures(structure.read(ROOT / folder)).circles == []
