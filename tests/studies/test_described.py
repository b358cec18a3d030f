"""What a study says of itself."""

from __future__ import annotations

import ast

import pytest

import inversionview as iv
from inversionview.studies import banks
from inversionview.studies.description import bundled_studies
from inversionview.tasks.addition.task import AdditionTask
from tests.preimage.tiny import few_sums, gpt2
from tests.report.page import Page


def said(study: iv.Study) -> str:
    return Page(study._repr_html_()).text


def test_a_study_on_disk_says_what_it_is_without_its_model(monkeypatch: pytest.MonkeyPatch) -> None:
    study = iv.load_study("addition")
    monkeypatch.setattr("inversionview.studies.folder.load_probed", lambda *_, **__: pytest.fail("nobody asked"))
    assert repr(study).startswith("<Study addition: 13 sites, with a decoder, in /")
    words = said(study)
    for part in ("Study addition", "a model that is loaded when it is first needed", "addition, 810,000 inputs"):
        assert part in words
    for part in ("x0.pre, a0.0", "and 5 more", "within ε = 0.1, euclidean", str(study.folder)):
        assert part in words


@pytest.mark.parametrize("name", bundled_studies())
def test_the_example_of_a_study_is_one(name: str) -> None:
    study = iv.load_study(name)
    shown = said(study)
    example = shown.partition("example ")[2].strip()
    if study.task.start is None:
        assert example == ""
        return
    call = ast.parse(example, mode="eval").body
    assert isinstance(call, ast.Call)
    assert ast.unparse(call.func) == "study.query"
    asked = {word.arg: ast.literal_eval(word.value) for word in call.keywords}
    assert ast.literal_eval(call.args[0]) == study.task.start.input
    assert (asked["site"], asked["at"]) in study.task.start.places


def test_a_study_in_memory_says_what_it_reads_and_which_banks_it_keeps() -> None:
    study = iv.Study(iv.ProbedModel(gpt2()), few_sums(), epsilon="null:0.05")
    assert repr(study) == f"<Study addition: {len(study.sites)} sites, without a decoder, in memory>"
    words = said(study)
    for part in ("GPT2LMHeadModel, 2 layers", "none: inputs are proposed", "none yet; one of 4,000", "null:0.05"):
        assert part in words
    banks.bank_for(study.parts, study.probed.select_sites(["a0.0"]), ["="], n=50)
    assert "50 inputs at =" in said(study)
    other = iv.Study(study.probed, AdditionTask())
    assert "none yet" in said(other), "a bank of other inputs is not this study's"
