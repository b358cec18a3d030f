"""The command `bank`, and what it leaves."""

from __future__ import annotations

import json
from functools import partial

import pytest
import torch

from inversionview import cli
from inversionview.bank.folder import load_bank
from inversionview.sites import Site
from tests.preimage.tiny import few_sums, probed, save_study
from tests.preimage.tiny import study as tiny_study


@pytest.fixture
def study(tmp_path, monkeypatch):
    monkeypatch.setattr("inversionview.studies.folder.get_task", lambda name, *of: few_sums())
    return save_study(tmp_path / "study")


@pytest.fixture
def run(capsys):
    def go(*args: object) -> tuple[int, str, str]:
        code = cli.main([str(arg) for arg in args])
        out, err = capsys.readouterr()
        return code, out, err

    return go


def test_it_says_the_size_first_and_keeps_what_was_asked_for(run, study, tmp_path):
    out = tmp_path / "bank"
    code, said, err = run("bank", study, "--at", "=,A1", "--sites", "heads,x1.post", "-n", 90, "--out", out)
    assert code == 0, err
    assert "bank: 90 inputs, 3 sites, = A1: " in err
    assert "90 inputs, " in said
    assert said.endswith(f"wrote the bank {out}\n")
    bank = load_bank(out, probed(), few_sums())
    assert bank.roles == ("=", "A1")
    assert [str(site) for site in bank.sites] == ["a0.0", "a0.1", "x1.post"]


def test_the_document_says_what_there_is(run, study, tmp_path):
    out = tmp_path / "bank"
    code, said, err = run("bank", study, "--at", "=", "-n", 50, "--seed", 2, "--out", out, "--json")
    assert code == 0, err
    document = json.loads(said)
    assert document["schema"] == 1
    assert {name: document[name] for name in ("study", "folder", "inputs", "ats", "split", "seed")} == {
        "study": "tiny", "folder": str(out), "inputs": 50, "ats": ["="], "split": "all", "seed": 2,
    }  # fmt: skip
    assert len(document["sites"]) == 5
    assert document["bytes"] == document["runs"] * 4 * (2 * 8 + 3 * 16)
    assert document["seconds"] > 0


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--at", "END"], "addition has no position 'END'"),
        (["--at", "=", "--sites", "a7.0"], "a7.0"),
        (["--at", "=", "-n", "0"], "at least 1 input"),
        (["--at", "=", "--most", "0"], "a number of GB above 0, not 0"),
        (["--at", "=", "--most", "0.000001"], r"inputs would fit"),
        (["--at", ","], "at least one position"),
    ],
)
def test_mistakes_are_one_line(run, study, tmp_path, options, says):
    code, said, err = run("bank", study, *options, "--out", tmp_path / "bank")
    assert (code, said) == (2, "")
    assert says in err.splitlines()[-1]
    assert not (tmp_path / "bank").exists()


def test_a_study_makes_one_in_memory_or_in_a_folder(tmp_path):
    make = partial(tiny_study().bank, "=", sites=["a0.0", "x1.post"], n=40, seed=1)
    here, kept = make(), make(folder=tmp_path / "bank")
    assert len(here) == len(kept) == 40
    for site in (Site.parse("a0.0"), Site.parse("x1.post")):
        torch.testing.assert_close(here.vectors(site, "="), kept.vectors(site, "="))
    held = tiny_study().bank(["=", "A1"], n=10)
    assert held.roles == ("=", "A1")
    assert len(held.sites) == 5
