"""A decoder's training that begins with the inputs of a bank."""

import shutil

import pytest

from inversionview.errors import UserError
from inversionview.studies.description import read_description
from inversionview.studies.recipes import Budget
from inversionview.studies.study import Study
from inversionview.studies.training_runs import train_decoder
from tests.preimage.tiny import probed, task
from tests.studies.runs import losses, stop_at

pytestmark = pytest.mark.usefixtures("tiny_runs")


@pytest.fixture
def bank(tmp_path):
    folder = tmp_path / "bank"
    sites = ["heads", "residual", "x0.mid", "x1.mid"]
    Study(probed(), task()).bank(at=["all"], sites=sites, n=60, seed=1, folder=folder)
    return folder


def test_a_run_resumes_with_its_bank_and_says_when_that_is_gone(tmp_path, model, bank):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    train_decoder("addition", whole, model=model, bank=bank, budget=Budget(steps=6))
    assert read_description(whole).bank == str(bank)
    assert not (whole / "pool").exists()
    assert train_decoder("addition", cut, model=model, bank=bank, budget=Budget(steps=6), logger=stop_at(3)).interrupted
    with pytest.raises(UserError, match=r"started with the bank .*bank, not with .*elsewhere"):
        train_decoder("addition", cut, bank=tmp_path / "elsewhere", resume=True)
    shutil.move(bank, tmp_path / "moved")
    with pytest.raises(UserError, match=r"the bank .*bank, with which the run was started, is gone: put it back"):
        train_decoder("addition", cut, resume=True)
    shutil.move(tmp_path / "moved", bank)
    train_decoder("addition", cut, resume=True)
    assert losses(cut) == losses(whole)
    plain = tmp_path / "plain"
    train_decoder("addition", plain, model=model, budget=Budget(steps=6))
    assert losses(plain) != losses(whole)


def test_a_bank_without_a_site_is_refused_before_anything_is_trained(tmp_path, model, bank):
    with pytest.raises(UserError, match=r"the bank does not hold m0: it holds .*; make one that does"):
        train_decoder("addition", tmp_path / "out", model=model, sites=["m0"], bank=bank)
    assert not (tmp_path / "out" / "study.json").exists()
    train_decoder("addition", tmp_path / "out", model=model, budget=Budget(steps=1))
    with pytest.raises(UserError, match="the run was started with no bank, not with"):
        train_decoder("addition", tmp_path / "out", bank=bank, resume=True)
