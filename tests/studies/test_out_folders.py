"""The folder of a run: one run's from the first moment, and as it was where nothing comes of the run."""

from __future__ import annotations

import errno
import os
import re

import pytest

from inversionview import cli
from inversionview.errors import UserError
from inversionview.probed.model import ProbedModel
from inversionview.studies import training_runs
from inversionview.studies.description import read_description
from inversionview.studies.recipes import Budget
from inversionview.studies.study import load_study
from inversionview.studies.training_runs import train_decoder, train_probed
from inversionview.training import loop
from tests.preimage.tiny import gpt2, save_study

pytestmark = pytest.mark.usefixtures("tiny_runs")

STEPS = (
    "inversionview.studies.training_runs.load_probed",
    "inversionview.studies.training_runs.check_fits",
    "inversionview.studies.training_runs.site_epsilons",
    "inversionview.studies.training_runs.make_decoder",
    "inversionview.studies.training_runs.keep_model",
    "inversionview.studies.training_runs.keep_task",
    "inversionview.studies.training_runs.train",
)
"""What a run does one after the other."""


def breaking(name: str, error: BaseException):
    """The function, which now raises."""

    def broken(*args, **given):
        raise error

    return name, broken


def said(capsys) -> list[str]:
    """The lines on standard error, but for the one that click ends ^C with."""
    return [line for line in capsys.readouterr().err.splitlines() if line]


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.split(".")[-1])
def test_a_second_run_with_the_same_folder_is_refused_while_the_first_prepares(step, tmp_path, model, monkeypatch):
    out, where, seen = tmp_path / "out", training_runs, []
    owner = ProbedModel if "ProbedModel" in step else where
    real = getattr(owner, step.split(".")[-1])

    def and_meanwhile(*args, **given):
        monkeypatch.setattr(owner, step.split(".")[-1], real)
        for resume in (False, True) if training_runs.has_checkpoint(out / "training") else (False,):
            with pytest.raises(
                UserError, match=re.escape(f"{out} is being written by another run (process {os.getpid()} on")
            ):
                train_decoder("addition", out, model=model, epsilon=0.9, budget=Budget(steps=1), resume=resume)
        with pytest.raises(UserError, match="is being written by"):
            train_probed("addition", out, budget=Budget(steps=1))
        seen.append(step)
        return real(*args, **given)

    monkeypatch.setattr(owner, step.split(".")[-1], and_meanwhile)
    train_decoder("addition", out, model=model, epsilon=0.4, budget=Budget(steps=1))
    assert seen == [step]
    assert read_description(out).epsilon == 0.4
    assert load_study(out).parts.has_decoder
    assert not list(out.glob(".*"))


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.split(".")[-1])
def test_ctrl_c_at_any_stage_of_the_preparation_is_one_line_and_the_folder_can_be_used_again(
    step, tmp_path, model, monkeypatch, capsys
):
    args = ["train", "addition", "--model", str(model), "--steps", "1", "--out", str(tmp_path / "deep" / "out")]
    with monkeypatch.context() as broken:
        broken.setattr(*breaking(step, KeyboardInterrupt()))
        assert cli.main(args) == 130
    assert said(capsys) == ["inversionview: interrupted"]
    assert not (tmp_path / "deep").exists()
    assert cli.main(args) == 0
    assert load_study(tmp_path / "deep" / "out").parts.has_decoder


@pytest.mark.parametrize("file", ["model.safetensors", "config.json"])
def test_a_disk_that_fills_while_the_model_is_copied_leaves_nothing(file, tmp_path, model, monkeypatch, capsys):
    real = os.fsync
    (tmp_path / "out").mkdir()

    def full(handle):
        if os.readlink(f"/proc/self/fd/{handle}").endswith(f"probed/{file}"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(handle)

    monkeypatch.setattr(os, "fsync", full)
    args = ["train", "addition", "--model", str(model), "--steps", "1", "--out", str(tmp_path / "out")]
    assert cli.main(args) == 2
    [line] = said(capsys)
    assert line == f"inversionview: cannot write {tmp_path / 'out'}: the disk is full; free some space and run it again"
    assert list((tmp_path / "out").iterdir()) == []
    monkeypatch.setattr(os, "fsync", real)
    assert cli.main(args) == 0


def test_what_a_checkpoint_was_written_of_is_kept(tmp_path, model, monkeypatch):
    """A run that fails later on can be resumed, so its study stays."""
    out = tmp_path / "out"
    with monkeypatch.context() as broken:
        broken.setattr(*breaking("inversionview.studies.training_runs.save_decoder", KeyboardInterrupt()))
        with pytest.raises(KeyboardInterrupt):
            train_decoder("addition", out, model=model, budget=Budget(steps=2))
    assert not list(out.glob(".*"))
    train_decoder("addition", out, model=model, resume=True)
    assert load_study(out).parts.has_decoder


def test_one_folder_of_checkpoints_is_one_run_s(tmp_path, model, monkeypatch):
    out = tmp_path / "out"
    real = loop.save_checkpoint
    refused = []

    def and_meanwhile(folder, checkpoint):
        with pytest.raises(UserError, match="training is being written by"):
            loop.train(objective, objective.config, folder, resume=True)
        refused.append(folder)
        return real(folder, checkpoint)

    class objective:  # noqa: N801 -- stands for one
        config = training_runs.decoder_recipe("addition")(Budget(steps=1), 0).training
        module = gpt2()

    monkeypatch.setattr(loop, "save_checkpoint", and_meanwhile)
    train_decoder("addition", out, model=model, budget=Budget(steps=1))
    assert refused == [out / "training"]


def test_saving_into_a_folder_that_another_run_writes(tmp_path):
    study = load_study(save_study(tmp_path / "a"))
    with training_runs.claimed(tmp_path / "b"), pytest.raises(UserError, match="b is being written by another run"):
        study.save(tmp_path / "b")
    study.save(tmp_path / "b")
    assert not list((tmp_path / "b").glob(".*"))
