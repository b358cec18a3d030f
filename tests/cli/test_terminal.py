"""What each command says in a terminal: at once what it does, and of all that may last how far it is."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import sys
import time
from functools import partial

import pytest

from inversionview import cli
from inversionview.cli import waiting
from inversionview.preimage.epsilon import calibration
from inversionview.preimage.epsilon.null import null_epsilon
from inversionview.studies import recipes, training_runs
from inversionview.studies.verbs import map as mapping
from tests.preimage import tiny
from tests.preimage.tiny import save_study
from tests.studies.runs import tiny_probed, tiny_recipe

SUM = "615+861=1476"
LIMIT = 120
LEFT = r"\d+ (s|min), about \d+ (s|min) left"
HEAVY = ("torch", "transformers")
UP_TO_TORCH = f"""
import os, sys
class Stop:
    def find_spec(self, name, path=None, target=None):
        if name in {HEAVY!r}:
            os.write(2, b"<torch>")
            os._exit(0)
sys.meta_path.insert(0, Stop())
from inversionview.cli import main
sys.exit(main(sys.argv[1:]))
"""
COMMANDS = {
    "demo": ["demo"],
    "read": ["read", "addition", SUM, "--at", "=", "--site", "a0.2"],
    "read --exact": ["read", "addition", SUM, "--at", "=", "--site", "a0.2", "--exact"],
    "bank": ["bank", "addition", "--at", "=", "--out", "OUT"],
    "map": ["map", "addition", SUM],
    "map --measure": ["map", "addition", "--measure"],
    "heads": ["heads", "addition", "--at", "="],
    "test": ["test", "addition", SUM, "F1", "--at", "=", "--sites", "a0.2"],
    "patch": ["patch", "addition", "--target", "A1", "--at", "=", "--sites", "a0.0", "--contrast", "change:F1,S1"],
    "causal": ["causal", "addition", SUM, "--at", "=", "--site", "a0.2"],
    "serve": ["serve", "addition", "--port", "0"],
    "train": ["train", "addition", "--out", "OUT"],
    "train-probed": ["train-probed", "addition", "--out", "OUT"],
    "evaluate": ["evaluate", "addition"],
    "validate": ["validate", "addition"],
    "another model": ["map", "text", "--model", "OUT"],
}
AT_ONCE = {"studies": ["studies"], "map kept": ["map", "addition"]}
"""Commands that load nothing: they have nothing to tell before their result."""


def on_a_terminal(*args: str, until: str = "(?!)") -> str:
    """What a process says on a terminal of its own, until that matches this pattern or the process has ended."""
    ours, its = pty.openpty()
    start, screen = time.monotonic(), b""
    process = subprocess.Popen(
        [sys.executable, *args], stdin=its, stdout=its, stderr=its, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    os.close(its)
    try:
        while time.monotonic() < start + LIMIT and not re.search(until, screen.decode(errors="replace")):
            if not select.select([ours], [], [], 0.2)[0]:
                continue
            try:
                more = os.read(ours, 2**16)
            except OSError:  # nobody writes there any more
                break
            if not more:
                break
            screen += more
    finally:
        process.kill()
        process.wait()
        os.close(ours)
    return screen.decode(errors="replace")


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_says_what_it_does_before_it_loads_anything(name, tmp_path):
    out = tmp_path / "out"
    args = [str(out) if word == "OUT" else word for word in COMMANDS[name]]
    said = on_a_terminal("-c", UP_TO_TORCH, *args, until="<torch>")
    assert "<torch>" in said, said
    first = said.split("<torch>")[0]
    assert re.match(r"\r[a-z][^\r]+, \d+ s\x1b\[K", first), said


@pytest.mark.parametrize("name", AT_ONCE)
def test_what_loads_nothing_says_its_result_at_once(name):
    said = on_a_terminal("-c", UP_TO_TORCH, *AT_ONCE[name])
    assert "<torch>" not in said
    assert "a0.2" in said


@pytest.mark.parametrize("name", ["map --measure", "validate"])
def test_of_long_work_the_time_left_is_told(name):
    counted = rf"\r[^\r]+: [\d,]+ of [\d,]+, {LEFT}"  # and not only modules that are imported
    said = on_a_terminal("-m", "inversionview", *COMMANDS[name], until=counted)
    assert re.search(counted, said), said


def test_help_loads_nothing_and_says_nothing_else():
    said = on_a_terminal("-c", UP_TO_TORCH, "--help")
    assert said.startswith("Usage: inversionview")
    assert "<torch>" not in said


@pytest.fixture
def stages(monkeypatch, tmp_path):
    """Every stage that a command of a tiny study tells of: how much of it was told at last, and of how much."""
    study, heard = save_study(tmp_path / "addition", name="addition"), []
    monkeypatch.setattr("inversionview.studies.description.bundled_studies", lambda: {"addition": study})
    monkeypatch.setitem(recipes.DECODER_RECIPES, "addition", tiny_recipe)
    monkeypatch.setitem(recipes.PROBED_RECIPES, "addition", tiny_probed)
    monkeypatch.setattr(training_runs, "get_task", lambda name, *of: tiny.task())
    monkeypatch.setattr("inversionview.studies.folder.get_task", lambda name, *of: tiny.few_sums())
    monkeypatch.setattr(calibration, "QUERY_PAIRS", 1000)
    monkeypatch.setattr(mapping, "null_epsilon", partial(null_epsilon, n=600))
    monkeypatch.setattr(mapping, "PAIRS", 600)
    monkeypatch.setattr("inversionview.studies.verbs.hypotheses.BASE_DRAWS", 1000)
    monkeypatch.setattr("inversionview.studies.verbs.evaluate.ACCURACY_INPUTS", 200)
    hear = waiting._Line.hear

    def noting(line, stage, done, of, partial):
        heard.append((stage, done, of))
        hear(line, stage, done, of, partial)

    monkeypatch.setattr(waiting._Line, "hear", noting)
    monkeypatch.chdir(tmp_path)

    def told(*args: str) -> list[tuple[str, int, int | None]]:
        heard.clear()
        assert cli.main([word.replace("SUM", "500+990=1490") for word in args]) == 0
        ends = [now for now, then in zip(heard, [*heard[1:], ("", 0, None)], strict=True) if then[:1] != now[:1]]
        return [end for end in ends if not _is_whole(end, heard)]

    return told


def _is_whole(end, heard) -> bool:
    """Whether it is what stages are part of, of which nothing is counted."""
    return all((done, of) == (0, None) for stage, done, of in heard if stage == end[0])


@pytest.mark.parametrize(
    ("line", "long"),
    [
        ("read addition SUM --at = --site a0.0 -n 40", {"propose", "verify", "weigh"}),
        ("read addition SUM --at = --site a0.0 --exact", {"scan"}),
        ("read addition SUM --at = --site a0.0 -n 40 --epsilon null:0.2", {"epsilon", "verify"}),
        ("bank addition --at = -n 30 --out bank", {"bank"}),
        ("map addition --queries 3", {"map", "drawing inputs to read"}),
        ("map addition --queries 3 --epsilon null:0.2", {"map", "epsilon"}),
        ("map addition --queries 3 -n 300", {"map", "bank"}),
        ("heads addition --at = -n 20", {"measuring heads, in inputs"}),
        ("test addition SUM F1 --at = --sites a0.0 --random-queries 3", {"test"}),
        ("test addition SUM F1 --at = --sites a0.0 --random-queries 3 --sampled -n 40", {"test"}),
        ("patch addition --target A1 --at = --sites a0.0 --contrast change:F1,S1 -n 30",
         {"patch", "drawing pairs of inputs"}),
        ("causal addition SUM --at = --site x0.post -n 20", {"scan", "patch"}),
        ("evaluate addition -n 10 --cells 2",
         {"drawing samples of the decoder", "running samples through the model", "looking at the model's answers",
          "scan", "asking the decoder for members"}),
        ("validate addition --cells 3 -n 60", {"scan", "reading the features of all inputs", "checking cells"}),
        ("train addition --steps 3 --out study", {"measuring activations", "taking the first steps"}),
        ("train-probed addition --steps 3 --out study", {"taking the first steps", "looking at the model's answers"}),
    ],
)  # fmt: skip
def test_of_all_that_may_last_it_is_told_how_much_is_done_and_how_much_there_is(stages, line, long):
    told = stages(*line.split())
    assert long <= {stage for stage, _, _ in told}
    for stage, done, of in told:
        assert of, f"{stage} does not say how much there is to do"
        if stage not in ("drawing inputs to read", "taking the first steps"):  # which may be over before
            assert done == of, stage
