"""What a study of a large model costs, counted from shapes and from what was measured: `python -m research.scale`.

Prints the page docs/scale.md. Nothing here was run on a GPU; what is assumed of one stands in `Hardware`.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

from benchmarks.flops import Transformer, training_flops
from inversionview.decoder.loss import LOGITS_AT_ONCE
from inversionview.decoder.model import DecoderConfig, RaggedRows
from inversionview.probed.batches import FEWEST_TOKENS, NUMBERS_AT_ONCE
from research.paths import ROOT

RESULTS = ROOT / "benchmarks" / "results"
WANTED = (
    "decoder on text, share of the probed model",
    "decoder on text, share of the decoder",
    "decoder on text, share of anything else",
    "decoder on text, peak resident memory",
    "decoder on text, operations in the probed model",
    "decoder on text, operations in the decoder",
    "decoder on text, against capture into lists and Trainer",
    "activations in bf16, mean distance from fp32",
)
COMMAND = "python -m benchmarks.run text_training"

MODELS = {
    "Mistral 7B": Transformer(32, 4096, 32, 8, 128, 14336, gated=True, vocab_size=32_000, tied=False),
    "Llama 3 70B": Transformer(80, 8192, 64, 8, 128, 28672, gated=True, vocab_size=128_256, tied=False),
}
BACKBONE = Transformer(24, 1024, 16, 16, 64, 4096, gated=False, vocab_size=50_257, tied=True)
"""GPT-2 Medium, from which the paper's decoder of facts starts."""
SITES = 24


@dataclass(frozen=True)
class Hardware:
    """What is assumed of one GPU, by the maker's figures and a guess at how much of them is reached."""

    name: str = "H100 with 80 GB"
    peak: float = 989e12
    """Operations a second in bf16, dense."""
    memory: float = 80e9
    probed: float = 0.4
    """Share of the peak that forwards of the probed model reach."""
    decoder: float = 0.2
    """Share of the peak that training the decoder reaches: its matrices are smaller."""
    usable: float = 0.9
    """Share of the memory that can be filled."""


@dataclass(frozen=True)
class Study:
    """What is trained and asked."""

    activations: int = 2_000_000
    length: int = 40
    """Tokens an input, begin and end included."""
    per_input: int = 4
    """Activations taken from one input, as the recipe of free text does."""
    whole: float = 0.2
    """Share of instances that the decoder is trained on to their end."""
    batch: int = 256
    rate_inputs: int = 2000
    """Held-out inputs a site, by which the in-ε rate is measured."""
    draws: int = 1000
    """Candidates of one reading."""
    null_inputs: int = 10_000
    """Inputs by which ε is found for each site."""


def longest(study: Study) -> float:
    """Mean number of tokens that are run of an input: up to the last of its positions, uniform over the eligible."""
    n, k = study.length - 2, study.per_input
    return 1 + sum(t * ((t / n) ** k - ((t - 1) / n) ** k) for t in range(1, n + 1))


def trained_tokens(study: Study) -> float:
    """Mean number of tokens that the decoder is trained on, of an instance."""
    to_position = (study.length - 1) / 2
    return study.whole * (study.length - 1) + (1 - study.whole) * to_position


def probed_flops(model: Transformer, study: Study) -> float:
    """Operations in the probed model, an activation; the deepest site is in the last layer."""
    return model.forward_flops(round(longest(study))) / study.per_input


def scratch_decoder(model: Transformer, study: Study) -> DecoderConfig:
    """The paper's size of decoder, over this model's vocabulary."""
    sites = tuple(f"x{layer}.post" for layer in range(SITES))
    return DecoderConfig(sites, model.d_model, model.vocab_size, study.length, begin=0, end=1, pad=2)


def scratch_weights(config: DecoderConfig) -> int:
    """Numbers in the matrices of a decoder of its own layers."""
    d = config.d_model
    trunk = config.d_activation * (1 + 2 * config.n_frequencies) * d + 2 * config.trunk_blocks * d * config.trunk_width
    return 2 * config.vocab_size * d + trunk + config.n_layers * 14 * d * d


def decoder_costs(model: Transformer, study: Study) -> dict[str, tuple[float, float]]:
    """By kind of decoder: operations of its training an activation, and its weights."""
    config, tokens = scratch_decoder(model, study), round(trained_tokens(study))
    own = training_flops(config, [RaggedRows(study.batch, tokens)]) / study.batch
    pretrained = 3 * BACKBONE.forward_flops(tokens, logits=tokens)
    return {
        "two layers of 256": (own, scratch_weights(config)),
        "from GPT-2 Medium": (pretrained, BACKBONE.weights),
    }


def memory(model: Transformer, decoder_weights: float, study: Study) -> dict[str, float]:
    """Bytes of what lies on the GPUs at once, by part."""
    tokens = max(FEWEST_TOKENS, NUMBERS_AT_ONCE["cuda"] // model.d_model)
    return {
        "weights of the probed model, bf16": 2 * model.weights,
        "what a layer makes of the tokens run together": 2 * tokens * (4 * model.d_model + 3 * model.d_mlp),
        "decoder: weights, gradients, two moments, fp32": 16 * decoder_weights,
        "logits held at once, in bf16 and fp32": 6 * LOGITS_AT_ONCE,
        "activations of a batch, fp32": 4 * study.batch * model.d_model,
    }


def hours(flops: float, share: float, hardware: Hardware) -> float:
    """Hours of one GPU."""
    return flops / (share * hardware.peak) / 3600


def jobs(model: Transformer, study: Study) -> dict[str, float]:
    """Operations in the probed model of each part of a study."""
    whole = model.forward_flops(study.length)
    return {
        "ε of each site by a null quantile": study.null_inputs * whole,
        "training: activations": study.activations * probed_flops(model, study),
        f"in-ε rates of {SITES} sites": 2 * SITES * study.rate_inputs * whole,
        f"one reading of {study.draws:,} candidates": study.draws * whole,
    }


@dataclass(frozen=True)
class Measured:
    """What `benchmarks.text_training` wrote."""

    name: str
    machine: dict[str, object]
    rows: dict[str, dict[str, object]]

    @property
    def probed_rate(self) -> float:
        """Operations a second in the probed model."""
        return 1e9 * float(str(self.rows["decoder on text, operations in the probed model"]["value"]))


def measured(folder: Path = RESULTS) -> Measured | None:
    """The latest measurement that has all that the page tells; None before there is one."""
    for file in sorted(folder.glob("*-text_training.json"), reverse=True):
        content = json.loads(file.read_text(encoding="utf-8"))
        rows = {row["name"]: row for row in content["rows"]}
        if rows.keys() >= set(WANTED):
            return Measured(file.stem, content["machine"], rows)
    return None


def page(study: Study | None = None, hardware: Hardware | None = None, folder: Path = RESULTS) -> str:
    """The page, in Markdown."""
    study, hardware, found = study or Study(), hardware or Hardware(), measured(folder)
    parts = [_head(), _measured(found), _formulae(study), _assumed(study, hardware)]
    parts += [_model(name, model, study, hardware, found) for name, model in MODELS.items()]
    return "\n".join([*parts, _where()])


def _head() -> str:
    return """\
# Scale

What a study of a model of 7 or 70 billion weights would cost. **This is a plan on paper**: operations and bytes are
counted from shapes, the rates of a CPU were measured, and those of a GPU are assumed. No model of this size was run,
and no GPU was at hand. `python -m research.scale` prints this page.
"""


def _measured(found: Measured | None) -> str:
    if found is None:
        return f"""\
## Measured

Nothing yet with this version: `{COMMAND}` measures a decoder for a model of GPT-2 small's shape.
"""
    machine, rows = found.machine, found.rows
    lines = [
        f"| {name.removeprefix('decoder on text, ')} | {float(str(rows[name]['value'])):.3g} {rows[name]['unit']} | "
        f"{rows[name].get('detail', '')} |"
        for name in WANTED
    ]
    return f"""\
## Measured

A decoder of two layers, 256 wide, for five heads of a model of GPT-2 small's shape (random weights, 50,257 tokens,
inputs of 40), on {machine["cores"]} cores ({machine["processor"]}), at a load of {machine["load_before"]} from other
work before it began. From `benchmarks/results/{found.name}.md`, by `{COMMAND}`.

| what | measured | |
| --- | --- | --- |
{chr(10).join(lines)}
"""


def _formulae(study: Study) -> str:
    k, run, trained = study.per_input, longest(study), trained_tokens(study)
    rows = [
        ("a forward through `l` layers", "`2 l (T W + 2 T² h e)`"),
        ("`W`", "`2 d e (h + key-value heads) + (3 if gated else 2) d · MLP width`"),
        (
            f"an activation, of {k} from each input",
            f"a forward up to the last of their positions, / {k}: {run:.1f} of {study.length} tokens on average",
        ),
        (
            "training a decoder, an instance",
            f"3 forwards over {trained:.1f} tokens: {study.whole:.0%} of the instances to their end, the others up to "
            "their position",
        ),
        ("weights of the probed model", "2 bytes a number, in bf16"),
        ("a decoder in training", "16 bytes a number: weight, gradient and two moments in fp32"),
    ]
    table = "\n".join(f"| {what} | {formula} |" for what, formula in rows)
    return f"""\
## Counted

A multiplication and an addition are two operations. `d` is the model's width, `W` the numbers in the matrices of a
layer, `T` the tokens that are run, `h` its heads, each `e` wide.

| what | formula |
| --- | --- |
{table}

The tests compare these counts with what torch counts of small models of both kinds. Activations are made as they are
needed and never stored, so the number of sites costs nothing but depth: one forward serves all sites of an input.
"""


def _assumed(study: Study, hardware: Hardware) -> str:
    return f"""\
## Assumed

- One {hardware.name}: {hardware.peak / 1e12:,.0f} TFLOP/s in bf16 by its maker, of which forwards of the probed model
  reach {hardware.probed:.0%} and the decoder's training {hardware.decoder:.0%}; {hardware.usable:.0%} of the memory can
  be filled.
- `--device-map auto` runs the layers of a model on several GPUs one after the other, so all but one of them wait:
  GPU-hours are the hours times the number of GPUs.
- Times are operations over that rate: optimisers, launches and copies between GPUs are left out.
- A study of {study.activations:,} activations at {SITES} sites, the deepest in the last layer. The bundled decoders of
  sums and of counting saw 2.3 and 3.8 million.
"""


def _model(name: str, model: Transformer, study: Study, hardware: Hardware, found: Measured | None) -> str:
    costs = decoder_costs(model, study)
    own_flops, own_weights = costs["two layers of 256"]
    parts = memory(model, own_weights, study)
    on_cpu = _on_cpu(study.activations * probed_flops(model, study), found)
    gpus = math.ceil(sum(parts.values()) / (hardware.usable * hardware.memory))
    held = "\n".join(f"| {part} | {size / 1e9:,.2f} GB |" for part, size in parts.items())
    work = "\n".join(
        f"| {job} | {flops / 1e15:,.1f} PFLOP | {_time(hours(flops, hardware.probed, hardware), gpus)} |"
        for job, flops in jobs(model, study).items()
    )
    trained = "\n".join(
        f"| training: a decoder {kind} | {study.activations * flops / 1e15:,.1f} PFLOP | "
        f"{_time(hours(study.activations * flops, hardware.decoder, hardware), gpus)} |"
        for kind, (flops, _) in costs.items()
    )
    return f"""\
## {name}

{model.weights / 1e9:.2f} billion numbers in its matrices; {probed_flops(model, study) / 1e12:.3f} TFLOP in it for each
activation, {own_flops / 1e12:.4f} in a decoder of two layers, 256 wide,
{costs["from GPT-2 Medium"][0] / 1e12:.4f} in one that starts from GPT-2 Medium.{on_cpu}

| in memory at once | |
| --- | --- |
{held}
| **all, with the small decoder** | **{sum(parts.values()) / 1e9:,.1f} GB: {gpus} GPU{"s" if gpus > 1 else ""}** |

A decoder from GPT-2 Medium takes {16 * costs["from GPT-2 Medium"][1] / 1e9:.1f} GB in place of the small one's
{16 * own_weights / 1e9:.2f}; with LoRA 4 bytes a number and little more.

| work | operations | assumed time |
| --- | --- | --- |
{work}
{trained}
"""


def _on_cpu(flops: float, found: Measured | None) -> str:
    if found is None:
        return ""
    days = flops / found.probed_rate / 86400
    return f"\nOn the CPU that was measured, the activations alone would take {days:,.0f} days."


def _time(of_one: float, gpus: int) -> str:
    in_minutes = f"{3600 * of_one:,.1f} s" if of_one < 1 / 60 else f"{60 * of_one:,.1f} min"
    shown = in_minutes if of_one < 1 else f"{of_one:.1f} h"
    return shown if gpus == 1 else f"{shown} ({of_one * gpus:.2g} GPU-hours)"


def _where() -> str:
    rows = [
        ("a 7B model, decoder, readings", "one GPU", "`train ... --dtype bfloat16`"),
        (
            "a 70B model",
            "several GPUs of one machine, layer after layer",
            '`train ... --dtype bfloat16 --device-map auto`; in Python `load_study(..., device_map="auto")`',
        ),
        ("the decoder of a 70B model", "the first of these GPUs, where activations arrive", "the same command"),
        (
            "faster training, of a model that fits one GPU",
            "a process a GPU, each with both models",
            "`torchrun --nproc-per-node N -m inversionview train ...`",
        ),
        ("tasks, features, estimates, pages", "the CPU", ""),
    ]
    table = "\n".join(f"| {part} | {place} | {how} |" for part, place, how in rows)
    return f"""\
## Which part would run where

| part | where | how |
| --- | --- | --- |
{table}

What was tested, on a CPU: two processes that train the decoder that one trains, on sums, on texts and from a language
model; models with accelerate's hooks around every module, read, patched and asked for attention like any other; models
in bf16. What was not run: a GPU, several devices that are different ones, and models larger than GPT-2 small. A model
whose weights do not fit and are offloaded to the CPU or to a disk is refused. `--device-map` is for a single process;
of several processes each holds the whole probed model. The commands that read a study put its model on one device.

## bf16

Where it was measured, the last row says how far activations in bf16 are from those of the same weights in fp32. A query
and its candidates come from the same model, in the same type. With the convention `tl` the map from raw values is
computed in fp32 from the model's weights and rounded once. A study keeps the type it was trained with, and the
fingerprint of the model in that type; another is refused.
"""


if __name__ == "__main__":
    print(page())
