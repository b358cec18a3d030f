from __future__ import annotations

import subprocess
import sys

import pytest

from inversionview import register_recipe, register_task
from inversionview.errors import UserError
from inversionview.registry import Registry
from inversionview.studies.recipes import DECODER_RECIPES, PROBED_RECIPES
from inversionview.tasks import TASKS, get_task
from inversionview.tasks.addition.task import AdditionTask

GROUP = "inversionview.animals"
OWN = {"cat": 3, "parser": "json:loads"}


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Puts a package with these entry points where Python finds it."""

    def install(package: str, entries: str, code: str = "", group: str = GROUP):
        (tmp_path / f"{package}.py").write_text(code)
        info = tmp_path / f"{package}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[{group}]\n{entries}\n")
        return tmp_path

    monkeypatch.syspath_prepend(str(tmp_path))
    return install


def animals() -> Registry[object]:
    return Registry("animal", GROUP, OWN)


def test_a_thing_is_found_and_an_own_one_is_imported_when_it_is_asked_for():
    import json

    assert animals().find("cat") == 3
    assert animals()["parser"] is json.loads


def test_an_unknown_name_lists_what_there_is(installed):
    installed("zoo", "dog = zoo:dog")
    with pytest.raises(UserError, match=r"there is no animal 'eel'; the animals are: cat, parser, dog$"):
        animals().find("eel")
    assert "eel" not in animals()
    assert "dog" in animals()
    assert len(animals()) == 3


def test_twice_under_one_name_is_an_error_unless_it_is_the_same_object(installed):
    installed("kennel", "hound = kennel:hound", "hound = object()")
    registry, bird = animals(), object()
    registry.register("bird", bird)
    registry.register("bird", bird)
    for name in ("bird", "cat", "hound"):
        with pytest.raises(UserError, match=f"there is a animal '{name}' already: give yours another name"):
            registry.register(name, object())
    registry.register("hound", registry["hound"])
    assert registry["bird"] is bird


def test_an_entry_point_is_loaded_when_it_is_asked_for(installed):
    installed("pond", "frog = pond:frog", "frog = ['green']")
    assert "pond" not in sys.modules
    registry = animals()
    assert list(registry) == ["cat", "parser", "frog"]
    assert "pond" not in sys.modules
    frog: object = registry["frog"]
    assert frog == ["green"]


@pytest.mark.parametrize(
    ("code", "why"),
    [("", "AttributeError"), ("import no_such_module", "ModuleNotFoundError"), ("1 / 0", "ZeroDivisionError")],
)
def test_a_broken_entry_point_is_one_line_that_names_it(installed, code, why):
    package = f"broken_{why.lower()}"
    installed(package, f"newt = {package}:newt", code)
    with pytest.raises(UserError) as raised:
        animals().find("newt")
    message = str(raised.value)
    assert message.startswith(f"the entry point newt = {package}:newt of {package} in {GROUP} cannot be loaded: {why}")
    assert "\n" not in message


@pytest.mark.parametrize("name", ["cat", "owl"])
def test_an_entry_point_with_anothers_name_is_an_error(installed, name):
    installed(f"first_{name}", "owl = one:owl")
    installed(f"second_{name}", f"{name} = other:{name}", f"{name} = 1")
    installed("other", "", "cat = 1")
    with pytest.raises(UserError, match=rf"^the entry point {name} = .* has the name of another animal: uninstall"):
        animals().find("wolf")


def test_a_task_of_ones_own_is_found_by_its_name(monkeypatch):
    class Sums(AdditionTask):
        name = "sums"

    register_task("sums", Sums)
    monkeypatch.setitem(TASKS, "sums", Sums)  # which takes it away again
    assert isinstance(get_task("sums"), Sums)
    with pytest.raises(UserError, match="there is a task 'addition' already"):
        register_task("addition", Sums)
    with pytest.raises(
        UserError, match=r"no task 'chess'; the tasks are: addition, counting, .*text, .*pronoun, sums$"
    ):
        get_task("chess")


def test_a_recipe_of_ones_own_is_found_by_its_name(monkeypatch):
    def make(budget, seed):
        raise NotImplementedError

    register_recipe("sums", make)
    monkeypatch.setitem(DECODER_RECIPES, "sums", make)
    assert DECODER_RECIPES.find("sums") is make
    assert "sums" not in PROBED_RECIPES


def test_a_task_of_an_installed_package_needs_no_import(installed):
    code = (
        "from inversionview.tasks.addition.task import AdditionTask\n\n\nclass Sums(AdditionTask):\n    name = 'sums'\n"
    )
    folder = installed("sums_task", "sums = sums_task:Sums", code, "inversionview.tasks")
    script = (
        f"import sys; sys.path.insert(0, {str(folder)!r}); import inversionview as iv; print(iv.get_task('sums').name)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("sums\n", "")
