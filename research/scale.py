"""What a study of a large model costs, counted from shapes and from what was measured: `python -m research.scale`.

Prints the page docs/scale.md. Nothing here was run on a GPU; what is assumed of one stands in `Hardware`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.flops import Transformer, training_flops
from inversionview.decoder.loss import LOGITS_AT_ONCE
from inversionview.decoder.model import DecoderConfig, RaggedRows
from inversionview.decoder.pool import passes_for
from inversionview.probed.batches import FEWEST_TOKENS, NUMBERS_AT_ONCE
from research import markdown
from research.documents import Document
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
SMOLLM2 = Transformer(30, 576, 9, 3, 64, 1536, gated=True, vocab_size=49_152, tied=True)
OF_SUMS = Transformer(2, 32, 4, 4, 8, 128, gated=False, vocab_size=15, tied=True)
RANK = 16
SITES = 24
OPERATORS_A_LAYER, OTHER_OPERATORS = 271, 139
"""Of torch, views left out, in a forward and backward pass of a Llama with LoRA and a slot; counted on a CPU."""


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
    launch: float = 5e-6
    """Seconds that an operator takes at least."""


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


def lora_weights(model: Transformer, rank: int = RANK) -> int:
    """Numbers in the matrices that LoRA adds to all linear maps of a gated model's layers."""
    d, of_heads, of_keys = model.d_model, model.d_head * model.n_heads, model.d_head * model.n_kv_heads
    return model.n_layers * rank * (2 * (d + of_heads) + 2 * (d + of_keys) + 3 * (d + model.d_mlp))


def self_flops(model: Transformer, tokens: int) -> float:
    """Operations of training a decoder made of the probed model, with LoRA, an instance: frozen weights get none."""
    return 2 * model.forward_flops(tokens, logits=tokens) + 6 * tokens * lora_weights(model)


def runs_on_one_gpu() -> dict[str, tuple[float, float, float]]:
    """By run: operations of an activation in the probed model and in the decoder, and operators of a step's groups."""
    sums = DecoderConfig(("a0.0",) * 13, 32, 15, 14, begin=10, end=13, pad=14)
    sentences = DecoderConfig(("a0.0",) * 26, 64, 200, 20, begin=0, end=1, pad=2)
    counted = {
        "addition": (OF_SUMS.forward_flops(14), training_flops(sums, [RaggedRows(1, 9)]), 2),
        "ioi in SmolLM2": (SMOLLM2.forward_flops(20), training_flops(sentences, [RaggedRows(1, 12)]), 2),
        "text in SmolLM2, from self": (SMOLLM2.forward_flops(20), self_flops(SMOLLM2, 12), SMOLLM2.n_layers),
    }
    return {
        name: (whole / passes_for(whole, trained), trained, OTHER_OPERATORS + layers * OPERATORS_A_LAYER)
        for name, (whole, trained, layers) in counted.items()
    }


def _one_gpu(hardware: Hardware) -> str:
    rows = []
    for name, (probed, trained, operators) in runs_on_one_gpu().items():
        computing = 1000 * (probed / hardware.probed + trained / hardware.decoder) / hardware.peak
        launching = 6 * operators * hardware.launch  # the recipes' six groups of a step
        rows.append((name, f"{probed / 1e9:.3g}", f"{trained / 1e9:.3g}", _short(computing), _short(launching)))
    columns = ("run", "GFLOP in the probed model", "in the decoder", "1,000 activations", "launches of a step")
    return markdown.table(columns, rows)


def _short(seconds: float) -> str:
    return f"{1000 * seconds:,.0f} ms" if seconds >= 0.01 else f"{1000 * seconds:.2g} ms"


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
    machine: Document
    rows: Mapping[str, Document]

    @property
    def probed_rate(self) -> float:
        """Operations a second in the probed model."""
        return 1e9 * float(self.rows["decoder on text, operations in the probed model"]["value"])


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
    study, hardware, measurement = study or Study(), hardware or Hardware(), measured(folder)
    return markdown.page(
        "scale",
        measured=_measured(measurement),
        per_input=study.per_input,
        longest=longest(study),
        length=study.length,
        trained=trained_tokens(study),
        whole=study.whole,
        name=hardware.name,
        teraflops=hardware.peak / 1e12,
        probed=hardware.probed,
        decoder=hardware.decoder,
        usable=hardware.usable,
        activations=study.activations,
        sites=SITES,
        one_gpu=_one_gpu(hardware),
        launch=1e6 * hardware.launch,
        lora=lora_weights(SMOLLM2) / 1e6,
        rank=RANK,
        models=markdown.joined(_model(name, model, study, hardware, measurement) for name, model in MODELS.items()),
    )


def _measured(measurement: Measured | None) -> str:
    if measurement is None:
        return f"Nothing yet with this version: `{COMMAND}` measures a decoder for a model of GPT-2 small's shape."
    chosen = [(name.removeprefix("decoder on text, "), measurement.rows[name]) for name in WANTED]
    rows = [(name, f"{row['value']:.3g} {row['unit']}", row.get("detail", "")) for name, row in chosen]
    machine = {name: measurement.machine[name] for name in ("cores", "processor", "load_before")}
    table = markdown.table(("what", "measured", ""), rows)
    return markdown.page("scale-measured", **machine, file=measurement.name, command=COMMAND, rows=table)


def _model(name: str, model: Transformer, study: Study, hardware: Hardware, measurement: Measured | None) -> str:
    costs = decoder_costs(model, study)
    (own, own_weights), (pretrained, pretrained_weights) = costs["two layers of 256"], costs["from GPT-2 Medium"]
    parts = memory(model, own_weights, study)
    gpus = math.ceil(sum(parts.values()) / (hardware.usable * hardware.memory))
    work = {job: (flops, hardware.probed) for job, flops in jobs(model, study).items()} | {
        f"training: a decoder {kind}": (study.activations * flops, hardware.decoder)
        for kind, (flops, _) in costs.items()
    }
    held = [(part, f"{size / 1e9:,.2f} GB") for part, size in parts.items()]
    whole = f"**{sum(parts.values()) / 1e9:,.1f} GB: {gpus} GPU{'s' if gpus > 1 else ''}**"
    return markdown.page(
        "scale-model",
        name=name,
        weights=model.weights / 1e9,
        probed=probed_flops(model, study) / 1e12,
        own=own / 1e12,
        pretrained=pretrained / 1e12,
        on_cpu=_on_cpu(study.activations * probed_flops(model, study), measurement),
        memory=markdown.table(("in memory at once", ""), [*held, ("**all, with the small decoder**", whole)]),
        pretrained_memory=16 * pretrained_weights / 1e9,
        own_memory=16 * own_weights / 1e9,
        work=markdown.table(
            ("work", "operations", "assumed time"),
            (
                (job, f"{flops / 1e15:,.1f} PFLOP", _time(hours(flops, reached, hardware), gpus))
                for job, (flops, reached) in work.items()
            ),
        ),
    )


def _on_cpu(flops: float, measurement: Measured | None) -> str:
    if measurement is None:
        return ""
    days = flops / measurement.probed_rate / 86400
    return f"On the CPU that was measured, the activations alone would take {days:,.0f} days."


def _time(of_one: float, gpus: int) -> str:
    in_minutes = f"{3600 * of_one:,.1f} s" if of_one < 1 / 60 else f"{60 * of_one:,.1f} min"
    shown = in_minutes if of_one < 1 else f"{of_one:.1f} h"
    return shown if gpus == 1 else f"{shown} ({of_one * gpus:.2g} GPU-hours)"


if __name__ == "__main__":
    print(page())
