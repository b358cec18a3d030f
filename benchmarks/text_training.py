"""Where the time goes when a decoder is trained on text from a model of GPT-2 small's shape, and against a plain way.

Both sides read five heads of a model with random weights (124M parameters, 50,257 tokens) over inputs of 40 tokens, and
train the same decoder on them. The plain way is what a first script does: all activations by TransformerLens'
`run_with_cache` into Python lists, then the Trainer of Hugging Face over them, in fp32. Ours is the library's loop.
The ratio is of instances a second, captured and trained on, in one run on the same threads.
"""

from __future__ import annotations

import copy
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from torch import Tensor, nn
from transformers import GPT2Config, GPT2LMHeadModel

from benchmarks.common import Row
from benchmarks.decoder_training import Recorder, peak_bytes
from inversionview.decoder import training as decoder_training
from inversionview.decoder.model import Decoder
from inversionview.decoder.training import DecoderObjective, DecoderTrainingConfig, make_decoder
from inversionview.probed.model import ProbedModel
from inversionview.sites import Site
from inversionview.tasks.addition import AdditionTask
from inversionview.tasks.base import Split, between_begin_and_end
from inversionview.training import TrainingConfig, train

VOCABULARY, LENGTH, END = 50_257, 40, 50_256
SITES = ("a5.5", "a5.8", "a5.9", "a6.9", "a7.9")
BATCH = 64
TARGET_REST, TARGET_RATIO = 0.10, 3.0


class RandomTexts(AdditionTask):
    """Rows of random tokens, all of one length: what they say does not change how long anything takes."""

    name = "text"
    vocab_size, max_length = VOCABULARY, LENGTH
    begin = end = pad = END
    size = None  # type: ignore[assignment]

    def sample(self, n: int, *, generator: torch.Generator, split: Split = "all") -> Tensor:
        rows = torch.randint(END, (n, LENGTH), generator=generator)
        rows[:, 0] = rows[:, -1] = END
        return rows

    def eligible(self, tokens: Tensor) -> Tensor:
        return between_begin_and_end(tokens, END)


def run(*, quick: bool = False) -> list[Row]:
    """The shares, the peak memory and the ratio."""
    steps = 2 if quick else 12
    model = gpt2(quick=quick)
    shares, ours, memory = measure_ours(model, steps)
    theirs = measure_plain(model, steps)
    rest = 1 - sum(shares.values())
    shape = f"batch {BATCH}, {LENGTH} tokens, {torch.get_num_threads()} threads"
    return [
        {"name": "decoder on text, share of the probed model", "value": shares["probed model"], "unit": "of wall time"},
        {"name": "decoder on text, share of the decoder", "value": shares["decoder"], "unit": "of wall time"},
        {"name": "decoder on text, share of anything else", "value": rest, "unit": "of wall time",
         "target": TARGET_REST, "detail": shape},
        {"name": "decoder on text, peak resident memory", "value": memory / 1e9, "unit": "GB",
         "detail": "five heads of a model of GPT-2 small's shape, its weights and the decoder's included"},
        {"name": "decoder on text, against capture into lists and Trainer", "value": ours / theirs, "unit": "times",
         "target": TARGET_RATIO, "sense": "at least",
         "detail": f"{ours:,.1f} and {theirs:,.1f} instances/s, {shape}"},
    ]  # fmt: skip


def gpt2(*, quick: bool) -> GPT2LMHeadModel:
    """GPT-2 small's shape with random weights."""
    torch.manual_seed(0)
    smaller = {"n_embd": 48, "n_head": 12} if quick else {}
    return GPT2LMHeadModel(GPT2Config(**smaller)).eval()


def measure_ours(model: GPT2LMHeadModel, steps: int) -> tuple[dict[str, float], float, int]:
    """Shares of probed model and decoder in the loop's steps after the first, instances a second, and peak memory."""
    objective = make_objective(model)
    config = TrainingConfig(batch_size=BATCH, steps=2 + steps, log_every=2 if steps > 2 else 1, warmup_steps=1)
    recorder = Recorder()
    with timed_capture() as spent, tempfile.TemporaryDirectory() as folder:
        train(objective, config, Path(folder) / "run", logger=recorder)  # type: ignore[arg-type]
    memory = peak_bytes()
    first, last = recorder.logged[2], recorder.logged[2 + steps]
    seconds = last["seconds"] - first["seconds"]
    parts = {
        name: last[f"share_{name}"] * last["seconds"] - first[f"share_{name}"] * first["seconds"]
        for name in ("forward_backward", "optimizer")
    }
    captured = sum(spent[2:])
    return (
        {"probed model": captured / seconds, "decoder": sum(parts.values()) / seconds},
        BATCH * steps / seconds,
        memory,
    )


def make_objective(model: GPT2LMHeadModel) -> DecoderObjective:
    """A decoder of the paper's size for five heads."""
    probed, task = ProbedModel(model), RandomTexts()
    sites = [Site.parse(site) for site in SITES]
    decoder = make_decoder(probed, task, sites, n_statistics=BATCH)
    return DecoderObjective(decoder, probed, task, DecoderTrainingConfig(full_steps=0, full_share=1.0))


@contextmanager
def timed_capture() -> Iterator[list[float]]:
    """Seconds of each forward of the probed model that the loop asks for."""
    spent: list[float] = []
    ordinary = decoder_training.activations_at

    def timed(*args: Any) -> Tensor:
        start = perf_counter()
        try:
            return ordinary(*args)
        finally:
            spent.append(perf_counter() - start)

    decoder_training.activations_at = timed
    try:
        yield spent
    finally:
        decoder_training.activations_at = ordinary


def measure_plain(model: GPT2LMHeadModel, steps: int) -> float:
    """Instances a second of capturing into Python lists, then training with Hugging Face's Trainer."""
    from transformers import Trainer, TrainingArguments

    generator, objective = torch.Generator().manual_seed(0), make_objective(model)
    tokens = objective.task.sample(BATCH * steps, generator=generator)
    positions = torch.randint(1, LENGTH - 1, (len(tokens),), generator=generator)
    lens = transformer_lens(model)
    start = perf_counter()
    instances = captured(lens, tokens, positions)
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder, per_device_train_batch_size=BATCH, max_steps=steps, save_strategy="no", report_to="none",
            logging_strategy="no", disable_tqdm=True, use_cpu=True, remove_unused_columns=False, learning_rate=1e-4,
        )  # fmt: skip
        Trainer(model=Plain(objective.module), args=arguments, train_dataset=instances).train()
    return len(instances) / (perf_counter() - start)


def captured(lens: Any, tokens: Tensor, positions: Tensor) -> list[dict[str, Any]]:
    """One instance an input, at its position and at one site, as Python lists."""
    names = {site: Site.parse(site) for site in SITES}
    hooks = {f"blocks.{site.layer}.attn.hook_result" for site in names.values()}
    found: list[dict[str, Any]] = []
    for rows, at in zip(torch.split(tokens, BATCH), torch.split(positions, BATCH), strict=True):
        _, cache = lens.run_with_cache(rows, names_filter=lambda name: name in hooks)
        for i, (row, position) in enumerate(zip(rows, at.tolist(), strict=True)):
            index = len(found) % len(SITES)
            site = names[SITES[index]]
            value = cache[f"blocks.{site.layer}.attn.hook_result"][i, position, site.head]
            found.append({"tokens": row.tolist(), "activation": value.tolist(), "site": index})
    return found


def transformer_lens(model: GPT2LMHeadModel) -> Any:
    """The same model in TransformerLens, which takes over a copy of it."""
    from transformer_lens.model_bridge.sources import build_bridge_from_module

    bridge = build_bridge_from_module(copy.deepcopy(model), architecture="GPT2LMHeadModel", hf_config=model.config)
    bridge.enable_compatibility_mode(disable_warnings=True)
    bridge.set_use_attn_result(True)
    return bridge


class Plain(nn.Module):
    """The decoder as the Trainer wants it: columns in, a loss out, all logits at once."""

    def __init__(self, decoder: Decoder) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(self, tokens: Tensor, activation: Tensor, site: Tensor) -> dict[str, Tensor]:
        return {"loss": -self.decoder.log_prob(tokens, activation, site).mean()}


if __name__ == "__main__":
    from benchmarks.run import main

    main(["text_training", *sys.argv[1:]])
