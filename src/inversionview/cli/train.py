"""The commands `train` and `train-probed`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from inversionview.cli.exit import INTERRUPTED, OK, fail
from inversionview.cli.options import FOLDER, settings_options
from inversionview.cli.waiting import importing
from inversionview.errors import UserError
from inversionview.progress import doing
from inversionview.studies.settings import ModelSettings, RunSettings, TrainSettings

if TYPE_CHECKING:
    from inversionview.decoder.training import Pretrained
    from inversionview.training import Logger, TrainingResult

_out_option = click.option("--out", type=FOLDER, required=True, help="Folder of the new study.")


@click.command()
@click.argument("source", metavar="STUDY_OR_RECIPE", required=False)
@settings_options(TrainSettings, ModelSettings, RunSettings)
@_out_option
def train(settings: TrainSettings, of: ModelSettings, run: RunSettings, *, source: str | None, out: Path) -> int:
    """Train a decoder for a probed model, into a study.

    With a model and no recipe, the recipe is `text`: any text in any model.
    """
    if source is None:
        if of.model is None and not run.resume:
            raise UserError("say what to train for: a study, a recipe, or --model for texts in any model")
        source = "text"
    from inversionview.studies.recipes import Budget, TaskSource

    texts = settings.texts, settings.column, settings.length
    with doing("preparing the training"):
        with importing():
            from inversionview.studies.training_runs import train_decoder
        result = train_decoder(
            source,
            out,
            sites=settings.sites,
            layers=settings.layers,
            task_source=TaskSource(settings.texts or None, *texts[1:]) if texts != ((), None, None) else None,
            epsilon=settings.epsilon,
            pretrained=_pretrained(settings.decoder_from, settings.lora),
            bank=settings.bank,
            device_map=settings.device_map,
            budget=Budget(run.minutes, run.steps),
            seed=run.seed,
            resume=run.resume,
            logger=_progress("decoder", run.minutes),
            **vars(of),
        )
    _say_note(out)
    return _report_run(result, out, f"inversionview evaluate {out}")


@click.command("train-probed")
@click.argument("recipe")
@settings_options(RunSettings)
@_out_option
def train_probed(run: RunSettings, *, recipe: str, out: Path) -> int:
    """Train a model to be probed, from scratch."""
    from inversionview.studies.recipes import Budget

    with doing("preparing the training"):
        with importing():
            from inversionview.studies import training_runs
        result, accuracy = training_runs.train_probed(
            recipe,
            out,
            budget=Budget(run.minutes, run.steps),
            seed=run.seed,
            resume=run.resume,
            logger=_progress("probed model", run.minutes),
        )
    if accuracy is not None:
        click.echo(f"exact match on held-out inputs: {accuracy:.2%}")
    return _report_run(result, out, f"inversionview train {out} --out FOLDER")


def _say_note(out: Path) -> None:
    """What the study's task says of how it counts positions, where that is not as usual."""
    from inversionview.studies.study import load_study

    if os.environ.get("RANK", "0") != "0":
        return
    if note := getattr(load_study(out).task, "note", ""):
        click.echo(note, err=True)


def _pretrained(source: str | None, lora: int | None) -> Pretrained | None:
    from inversionview.decoder.training import Pretrained

    if lora is not None and source is None:
        raise UserError("--lora adds to a language model: give it with --decoder-from")
    if lora is not None and lora < 1:
        raise UserError(f"the rank of LoRA's matrices must be at least 1, not {lora}")
    return None if source is None else Pretrained(source, lora or 0)


def _progress(about: str, minutes: float | None) -> Logger:
    from inversionview.training import ProgressBar

    return ProgressBar(about=about, minutes=minutes)


def _report_run(result: TrainingResult, out: Path, then: str) -> int:
    if result.interrupted:
        return fail(f"stopped after {result.steps:,} steps; the same command with --resume goes on", INTERRUPTED)
    if os.environ.get("RANK", "0") != "0":
        return OK  # of several processes that train together, the first one speaks
    spent = ", ".join(f"{part} {share:.0%}" for part, share in result.shares.items() if share >= 0.01)
    click.echo(
        f"{result.steps:,} steps in {result.seconds:,.0f} s, {result.instances_per_second:,.0f} instances/s ({spent})"
    )
    click.echo(f"wrote the study {out}; next: {then}")
    return OK
