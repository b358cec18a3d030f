"""The commands `train` and `train-probed`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from inversionview.cli.exit import INTERRUPTED, OK, fail
from inversionview.cli.options import FOLDER, options
from inversionview.errors import UserError

if TYPE_CHECKING:
    from inversionview.decoder.training import Pretrained
    from inversionview.studies.recipes import Budget
    from inversionview.training import Logger, TrainingResult

_run_options = options(
    click.option("--out", type=FOLDER, required=True, help="Folder of the new study."),
    click.option("--minutes", type=float, help="Length of the run in minutes of wall time."),
    click.option("--steps", type=int, help="Length of the run in steps."),
    click.option("--seed", type=int, help="Seed of weights and data.  [default: 0]"),
    click.option("--resume", is_flag=True, help="Go on with the run in the folder, from its last checkpoint."),
)


@click.command()
@click.argument("source", metavar="STUDY_OR_RECIPE", required=False)
@click.option(
    "--model", metavar="PATH_OR_ID", help="Probed model; a folder needs no tokenizer.  [default: the study's]"
)
@click.option("--convention", type=click.Choice(["raw", "tl"]), help="Form of the activations.  [default: the study's]")
@click.option("--sites", help="Sites to train on, separated by commas.  [default: the study's, or the paper's choice]")
@click.option(
    "--epsilon", help="Largest distance of a member: 0.1, or null:0.05 for each site.  [default: the study's]"
)
@click.option("--texts", metavar="FILE_OR_NAME", multiple=True,
              help="Texts: a .txt, .jsonl or .parquet file, a folder, or a data set; may be given again.")  # fmt: skip
@click.option("--column", help="Which column of the texts.  [default: text]")
@click.option("--length", type=int, help="Tokens of an input, the begin token included.  [default: the recipe's]")
@click.option(
    "--decoder-from", metavar="PATH_OR_ID", help="Language model to make the decoder of.  [default: layers of its own]"
)
@click.option("--lora", metavar="RANK", type=int, help="Train LoRA matrices of this rank, not all of that model.")
@click.option(
    "--dtype",
    type=click.Choice(["float32", "bfloat16", "float16"]),
    help="Type of numbers of the probed model.  [default: as saved]",
)
@click.option(
    "--device-map",
    metavar="HOW",
    help="Spread the probed model over several GPUs: auto, balanced, sequential.  [default: all on one device]",
)
@_run_options
def train(
    source: str | None, out: Path, model: str | None, convention: str | None, sites: str | None, epsilon: str | None,
    texts: tuple[str, ...], column: str | None, length: int | None, decoder_from: str | None, lora: int | None,
    dtype: str | None, device_map: str | None, minutes: float | None, steps: int | None, seed: int | None, resume: bool,
) -> int:  # fmt: skip
    """Train a decoder for a probed model, into a study.

    With a model and no recipe, the recipe is `text`: any text in any model.
    """
    if source is None:
        if model is None and not resume:
            raise UserError("say what to train for: a study, a recipe, or --model for texts in any model")
        source = "text"
    from inversionview.studies.recipes import TaskSource
    from inversionview.studies.training_runs import train_decoder

    given = TaskSource(texts or None, column, length) if texts or column is not None or length is not None else None
    result = train_decoder(
        source,
        out,
        model=model,
        convention=convention,
        sites=[name.strip() for name in sites.split(",")] if sites else None,
        task_source=given,
        epsilon=epsilon,
        pretrained=_pretrained(decoder_from, lora),
        dtype=dtype,
        device_map=device_map,
        budget=_budget(minutes, steps),
        seed=seed,
        resume=resume,
        logger=_progress("decoder"),
    )
    _say_note(out)
    return _report_run(result, out, f"inversionview evaluate {out}")


@click.command("train-probed")
@click.argument("recipe")
@_run_options
def train_probed(
    recipe: str, out: Path, minutes: float | None, steps: int | None, seed: int | None, resume: bool
) -> int:
    """Train a model to be probed, from scratch."""
    from inversionview.studies import training_runs

    result, accuracy = training_runs.train_probed(
        recipe, out, budget=_budget(minutes, steps), seed=seed, resume=resume, logger=_progress("probed model")
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


def _budget(minutes: float | None, steps: int | None) -> Budget:
    from inversionview.studies.recipes import Budget

    return Budget(minutes, steps)


def _progress(about: str) -> Logger:
    from inversionview.training import ProgressBar

    return ProgressBar(about=about)


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
