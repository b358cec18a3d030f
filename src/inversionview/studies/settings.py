"""The settings of each verb, declared once: `Study`, the command line and the server all take these. Needs no torch.

A field's metadata: `help`, as the command line says it, None where it has no such option; and `short`, `metavar`,
`flag` (how a choice between two is spelled) and `multiple` (it may be given again) where the option has them. What
makes an input a member is no setting of a verb, but a `Criterion`.
"""

# ruff: noqa: RUF009  (`_option` gives a field of its own each time)

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from inversionview.errors import UserError
from inversionview.results.patching import Direction, Order, Replacement
from inversionview.seeds import LARGEST, checked_seed

_SEED = "Same seed, same result."
Layers = Literal["all", "upper"]
"""Of which layers heads are chosen: of all, or of the upper half (24 to 47 of 48)."""
BY_FEATURES = "features"
"""How an explanation is found where no language model is asked."""
SITES_HELP = "By commas: sites, layers (a18-24, m3-7, x2-5), or heads, residual, mlps, attention, all"


def _option(default: Any, help_: str | None = None, **more: str) -> Any:
    return field(default=default, metadata={"help": help_, **more})


class _Checked:
    """Numbers that are too large for anything are refused where they are given, not where they overflow."""

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if name == "seed" and value is not None:
                checked_seed(value)
            elif isinstance(value, int) and abs(value) > LARGEST:
                raise UserError(f"{name.replace('_', ' ')} must be a number below {LARGEST + 1}, not {value}")


@dataclass(frozen=True)
class ModelSettings:
    """Another model than the study's own, and how it is found and loaded."""

    model: str | None = _option(
        None, "Another model than the study's: a folder, a .gguf file, or its id on the hub.", metavar="PATH_OR_ID"
    )
    revision: str | None = _option(None, "With --model, of the hub: a branch, tag or commit.", metavar="NAME")
    base: str | None = _option(
        None, "With --model, where that is an adapter: the model it is added to.", metavar="PATH_OR_ID"
    )
    begin: str | None = _option(
        None, "With --model: the token that stands before a text.  [default: the tokenizer's]", metavar="TOKEN"
    )
    dtype: Literal["float32", "bfloat16", "float16"] | None = _option(
        None, "With --model: type of its numbers.  [default: as saved]"
    )
    convention: Literal["raw", "tl"] | None = _option(
        None, "With --model: form of the activations.  [default: the study's, or raw where tl is not derived]"
    )
    device: str | None = _option(
        None, "Where the model runs: cpu, cuda, cuda:1, mps.  [default: a GPU if there is one]", metavar="DEVICE"
    )


@dataclass(frozen=True)
class ReadSettings(_Checked):
    """How a preimage is sampled."""

    n: int = _option(1000, "Candidates to draw; with --exact, members to show.", short="-n")
    seed: int = _option(0, _SEED)
    temperatures: tuple[float, ...] = _option((1.0,), "Of the decoder, separated by commas.")
    noise: tuple[float, ...] = _option((0.0,), "Levels of noise on the activation, by commas.")
    prior_share: float = _option(0.1, "Share of draws from the prior.")
    also: tuple[str, ...] = _option(
        (), "Draw from retrieval, edits, given, cosine, varied or unrepeated too.", metavar="LIST"
    )
    frequencies: Path | None = _option(
        None, "For unrepeated: counts of tokens (a JSON list), or texts to count them in.", metavar="FILE"
    )
    frequent: int = _option(50_000, "Count from which on a token may repeat; of MiniPile, the paper's.")
    bank: Path | None = _option(None, "Without a decoder: take the bank in this folder.", metavar="DIR")
    colors: bool = _option(True)
    explain: bool = _option(True, "Put it in words by a rule over features, too.", flag="--explain/--no-explain")


@dataclass(frozen=True)
class ExactSettings(_Checked):
    """How a preimage is enumerated."""

    seed: int = _option(0, _SEED)
    curve: bool = _option(False)
    index: Path | None = _option(None, "With --exact: keep activations in this folder, for later queries.")
    given: str | None = _option(
        None, "With --exact: of the inputs that share this, such as counts, or all-but:IO,S.", metavar="NAME"
    )
    explain: bool = _option(True, "Put it in words by a rule over features, too.", flag="--explain/--no-explain")


@dataclass(frozen=True)
class BankSettings(_Checked):
    """What a bank holds."""

    sites: tuple[str, ...] | None = _option(None, f"{SITES_HELP}.  [default: the study's]", metavar="LIST")
    n: int = _option(4000, "Inputs to draw.", short="-n")
    seed: int = _option(0, _SEED)
    split: Literal["all", "train", "held-out"] = _option("all", "Of which side of the task's split.")
    most: float | None = _option(None, "Largest size in GB.  [default: 8 on disk, if so much is free]", metavar="GB")


@dataclass(frozen=True)
class MapSettings(_Checked):
    """How a map is made."""

    queries: int | None = _option(None, "Random inputs a cell, without INPUT.  [default: 200 from a bank, else 100]")
    where: str | None = _option(
        None, "Only inputs that meet a condition over features: 'C1 == \"no\"'.", metavar="COND"
    )
    by: str | None = _option(None, "Tell each cell apart by the values of a feature, too.", metavar="FEATURE")
    at: tuple[str, ...] | None = _option(None, "Positions, by commas.  [default: all that have a name]", metavar="LIST")
    sites: tuple[str, ...] | None = _option(None, f"{SITES_HELP}.  [default: the study's]", metavar="LIST")
    n: int | None = _option(
        None, "Inputs of the bank.  [default: 4000 where the inputs cannot be enumerated]", short="-n"
    )
    bank: Path | None = _option(None, "Take the bank in this folder.", metavar="DIR")
    draws: int | None = _option(None, "Without a bank: inputs drawn from the prior.  [default: 200,000]")
    draws_given: int = _option(1000, "And, a query and condition, from the prior given what they share.")
    seed: int = _option(0, _SEED)


@dataclass(frozen=True)
class TestSettings(_Checked):
    """How a hypothesis is tested."""

    __test__ = False  # no test, whatever its name says

    exact: bool | None = _option(
        None, "Count all inputs, or draw some.  [default: exact if it can be]", flag="--exact/--sampled"
    )
    n: int = _option(1000, "Candidates to draw, with --sampled.", short="-n")
    random_queries: int = _option(99, "Inputs to compare with.")
    seed: int = _option(0, _SEED)


@dataclass(frozen=True)
class ExplainSettings(_Checked):
    """How an activation is put into words."""

    exact: bool | None = _option(
        None, "Count all inputs, or draw some.  [default: exact if it can be]", flag="--exact/--sampled"
    )
    n: int = _option(4000, "Candidates to draw, with --sampled.", short="-n")
    written: int = _option(200, "Inputs to write that fit, and to run through the model.")
    used: bool = _option(False, "Try, too, whether the model uses what is said: it is put into the query's run.")
    given: str | None = _option(
        None, "With INPUT: of the inputs that share this, such as counts, or all-but:IO,S.", metavar="NAME"
    )
    by: str = _option(
        BY_FEATURES, "By features, or by a language model: the URL of an OpenAI-compatible endpoint.", metavar="HOW"
    )
    by_model: str | None = _option(None, "With a URL: the model to ask there.", metavar="NAME")
    by_tokens: int | None = _option(None, "With a URL: tokens of an answer, at most.")
    queries: int = _option(100, "With --sites: activations of a site to explain.")
    seed: int = _option(0, _SEED)


@dataclass(frozen=True)
class PatchSettings(_Checked):
    """How activations are put into another run."""

    at: str | int | None = _option(None, "Position of the sites that name none: a role, or an index.")
    order: Order = _option("forward", "One site more each time, forward or in reverse; or one at a time.")
    direction: Direction = _option("contrast-into-clean", "Which run's activations go where.")
    where: str | None = _option(
        None, "Only clean inputs that meet a condition over features: 'A1 != 1'.", metavar="COND"
    )
    contrast_where: str | None = _option(None, "Only contrast inputs that meet a condition.", metavar="COND")
    n: int = _option(2000, "Clean inputs to draw, of the held-out side.", short="-n")
    seed: int = _option(0, _SEED)
    tries: int = _option(100)


@dataclass(frozen=True)
class CausalSettings(_Checked):
    """How it is tried whether what is encoded is used."""

    n: int = _option(500, "Inputs of each group.", short="-n")
    exact: bool | None = _option(
        None, "All members, or a sample.  [default: exact if it can be]", flag="--exact/--sampled"
    )
    draws: int = _option(4000)
    features: tuple[str, ...] | None = _option(
        None, "Features to tell about, by commas.  [default: all]", metavar="LIST"
    )
    given: tuple[str, ...] | None = _option(
        None, "Features that all non-members must share with the query, by commas.", metavar="LIST"
    )
    outputs: tuple[str | int, ...] | None = _option(
        None, "Positions whose next token counts.  [default: they predict the answer]", metavar="LIST"
    )
    seed: int = _option(0, _SEED)


@dataclass(frozen=True)
class AblateSettings(_Checked):
    """How an activation is replaced by those of other inputs."""

    kind: Replacement = _option("mean")
    outputs: tuple[str | int, ...] | None = _option(None)
    seed: int = _option(0)


@dataclass(frozen=True)
class HeadSettings(_Checked):
    """How heads are chosen."""

    at: str = _option("END", "Position: a role, or an index.")
    n: int = _option(500, "Training inputs to draw.", short="-n")
    least: float = _option(0.02, "Share above which a head counts.")
    layers: Layers = _option("all", "Of all layers, or of the upper half of them.")
    texts: str | None = _option(
        None,
        "Count in all facts of this COUNTERFACT file or BEAR folder instead, such as known_1000.json.",
        metavar="FILE",
    )
    seed: int = _option(0, _SEED)


@dataclass(frozen=True)
class EvaluateSettings(_Checked):
    """How a decoder is measured."""

    n: int = _option(2000, "Held-out queries a site.", short="-n")
    cells: int = _option(13, "Random queries for completeness; 0 for none.")
    seed: int = _option(0, _SEED)


@dataclass(frozen=True)
class ValidateSettings(_Checked):
    """How the estimates are checked against exact preimages."""

    cells: int = _option(208, "Random queries to check.")
    n: int = _option(10_000, "Candidates to draw for each.", short="-n")
    temperatures: tuple[float, ...] = _option((1.0, 2.0), "Of the decoder, separated by commas.")
    prior_share: float = _option(0.4, "Share of draws from the prior.")
    seed: int = _option(0, _SEED)
    keep: Path | None = _option(None, "Folder that holds each finished cell, so that a killed run goes on.")
    part: tuple[int, int] | None = _option(
        None, "Only the K-th of so many shares, from 0; needs --keep.", metavar="K OF"
    )


@dataclass(frozen=True)
class RunSettings(_Checked):
    """How long a training run is, and how it starts."""

    minutes: float | None = _option(None, "Length of the run in minutes of wall time, its preparation included.")
    steps: int | None = _option(None, "Length of the run in steps.")
    seed: int | None = _option(None, "Seed of weights and data.  [default: 0]")
    resume: bool = _option(False, "Go on with the run in the folder, from its last checkpoint.")


@dataclass(frozen=True)
class TrainSettings(_Checked):
    """What a decoder is trained for, where it differs from what the study or recipe says."""

    sites: tuple[str, ...] | None = _option(
        None, f"{SITES_HELP}.  [default: the study's, or the paper's choice]", metavar="LIST"
    )
    layers: Layers | None = _option(
        None, "Where heads are chosen by what they add: of which layers.  [default: upper, the paper's]"
    )
    epsilon: str | None = _option(
        None, "Largest distance of a member: 0.1, or null:0.05 for each site.  [default: the study's]"
    )
    texts: tuple[str, ...] = _option(
        (),
        "Texts: a .txt, .jsonl, .json, .csv, .tsv or .parquet file, a folder, or a data set; may be given again.",
        metavar="FILE_OR_NAME",
        multiple="yes",
    )
    column: str | None = _option(None, "Which column of the texts.  [default: text]")
    length: int | None = _option(None, "Tokens of an input, the begin token included.  [default: the recipe's]")
    decoder_from: str | None = _option(
        None,
        "Language model to make the decoder of: a path, a name, or self (the probed model).  [default: its own layers]",
        metavar="PATH_OR_ID",
    )
    lora: int | None = _option(None, "Train LoRA matrices of this rank, not all of that model.", metavar="RANK")
    bank: Path | None = _option(
        None, "Begin with the inputs of the bank in this folder, made with --at all.", metavar="DIR"
    )
    device_map: str | None = _option(
        None,
        "Spread the probed model over several GPUs: auto, balanced, sequential.  [default: all on one device]",
        metavar="HOW",
    )
