"""Where the time and the memory go when a decoder is trained on text from a model of GPT-2 small's shape.

And how fast that is against a plain way. Both sides read five heads of a model with random weights (124M parameters,
50,257 tokens) over inputs of 40 tokens, and train the same decoder on them, every input to its end. The plain way is
what a first script does: one activation an input by TransformerLens' `run_with_cache`, which is told where to stop,
into Python lists, then the Trainer of Hugging Face over them, in its fp32; where that is faster, a second one in bf16.
Ours is the library's loop, which takes many instances of an input. The ratio is of instances a second, captured and
trained on, on the same threads: each of ours counts with its share of the forwards that a long run makes. What is
compared runs in turns, since other work on the machine must meet all of it alike.
"""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple
from unittest.mock import patch

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import GPT2Config, GPT2LMHeadModel

from benchmarks.common import ON_CPU, ROOT, Row, transformer_lens
from benchmarks.decoder_training import Recorder, peak_bytes
from benchmarks.flops import Transformer, training_flops
from inversionview.bank.passes import read_vectors
from inversionview.decoder.model import Decoder
from inversionview.decoder.training import DecoderObjective, DecoderTrainingConfig, make_decoder
from inversionview.probed.batches import run_together, tokens_at_once
from inversionview.probed.model import ProbedModel
from inversionview.sites import Site
from inversionview.studies.study import load_study
from inversionview.tasks.addition.task import AdditionTask
from inversionview.tasks.base import Split
from inversionview.tasks.positions import between_begin_and_end
from inversionview.training import TrainingConfig, train
from inversionview.training.precision import fast_dtype, matmul_rate

VOCABULARY, LENGTH, END = 50_257, 40, 50_256
SITES = ("a5.5", "a5.8", "a5.9", "a6.9", "a7.9")
DEEPEST = 7
BATCH, WARM_UP, STEPS, ROUNDS = 64, 1, 2, 2
TARGET_REST, TARGET_RATIO = 0.10, 3.0
LIKE_FOR_LIKE = DecoderTrainingConfig(full_steps=0, full_share=1.0)
AS_THE_RECIPE = DecoderTrainingConfig(full_steps=0, groups=6)
"""Of free text: a fifth of the instances trained to their end."""


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


class Spent(NamedTuple):
    """Of some steps of the loop, and on the inputs that came in before them."""

    stepping: float
    """Seconds of the steps, in which no inputs come in."""
    decoder: float
    """Seconds of these in the decoder: forward, backward, optimisers."""
    captured: float
    """Seconds in the probed model, whenever that was."""
    inputs: int
    """That it was run on, for all sites and positions at once."""

    @staticmethod
    def total(parts: Iterable[Spent]) -> Spent:
        """Of all these steps."""
        return Spent(*map(sum, zip(*parts, strict=True)))

    def capturing(self, instances: float, passes: int) -> float:
        """Seconds in the probed model for so many instances in the long run, `passes` being taken of each input."""
        return self.captured / self.inputs * instances / passes

    def rate(self, instances: float, passes: int) -> float:
        """Instances a second in the long run: these were trained on, and their share of the inputs was captured."""
        return instances / (self.stepping + self.capturing(instances, passes))


def run(*, quick: bool = False) -> list[Row]:
    """The shares, the peak memory, the rates and the ratios."""
    steps, rounds = (1, 1) if quick else (STEPS, ROUNDS)
    model = gpt2(quick=quick)
    ours = {
        "like for like": make_objective(model, LIKE_FOR_LIKE),
        "as the recipe": make_objective(model, AS_THE_RECIPE),
    }
    plain = {"fp32": 0.0}
    if fast_dtype("cpu") == torch.bfloat16:  # elsewhere it takes many times as long
        ours["bf16"], plain["bf16"] = make_objective(copy.deepcopy(model).bfloat16(), AS_THE_RECIPE), 0.0
    lens, decoder = transformer_lens(model), ours["like for like"].module
    rounds_of: dict[str, list[Spent]] = {name: [] for name in ours}
    measure_plain(lens, decoder, 1, bf16=False)  # what is done once only
    for _ in range(rounds):
        for name, objective in ours.items():
            rounds_of[name].append(measure_ours(objective, steps))
        for name in plain:
            plain[name] += measure_plain(lens, decoder, steps, bf16=name == "bf16")
    best = matmul_rate(torch.float32, "cpu", 2048), matmul_rate(torch.bfloat16, "cpu", 2048)
    spent = {name: Spent.total(parts) for name, parts in rounds_of.items()}
    n = BATCH * steps * rounds
    passes = {name: objective.pool.passes for name, objective in ours.items()}
    rates = (
        {name: one.rate(n, passes[name]) for name, one in spent.items()},
        {name: n / one for name, one in plain.items()},
    )
    return [
        *share_rows(spent["like for like"], n, passes["like for like"]),
        *memory_rows(quick=quick),
        *rate_rows(ours["like for like"], spent["like for like"], steps * rounds, best),
        *ratio_rows(*rates, passes["like for like"]),
        *bf16_rows(),
    ]


def ratio_rows(ours: dict[str, float], plain: dict[str, float], passes: int) -> list[Row]:
    """Instances a second, over those of the plain way."""
    shape = (
        f"batch {BATCH}, {LENGTH} tokens, {torch.get_num_threads()} threads; ours takes {passes} instances of an "
        "input, over all its sites and positions, the plain way one"
    )
    compared = (
        ("decoder on text, against capture into lists and Trainer", "like for like", "fp32"),
        ("the same, the Trainer in bf16", "like for like", "bf16"),
        ("as the recipe trains, against capture into lists and Trainer", "as the recipe", "fp32"),
        ("the same, and the probed model in bf16", "bf16", "fp32"),
    )
    rows: list[Row] = [
        {"name": name, "value": ours[mine] / plain[theirs], "unit": "times",
         "detail": f"{ours[mine]:,.1f} and {plain[theirs]:,.1f} instances/s, {shape}"}
        for name, mine, theirs in compared
        if mine in ours and theirs in plain
    ]  # fmt: skip
    rows[0] |= {"target": TARGET_RATIO, "sense": "at least"}
    return rows


def share_rows(spent: Spent, instances: int, passes: int) -> list[Row]:
    """Where the time goes in the long run."""
    captured = spent.capturing(instances, passes)
    seconds = spent.stepping + captured
    captured, decoder = captured / seconds, spent.decoder / seconds
    return [
        {"name": "decoder on text, share of the probed model", "value": captured, "unit": "of wall time"},
        {"name": "decoder on text, share of the decoder", "value": decoder, "unit": "of wall time"},
        {"name": "decoder on text, share of anything else", "value": 1 - captured - decoder, "unit": "of wall time",
         "target": TARGET_REST},
    ]  # fmt: skip


def rate_rows(objective: DecoderObjective, spent: Spent, steps: int, best: tuple[float, float]) -> list[Row]:
    """Operations a second in the probed model, and in the decoder, beside the machine's best."""
    shape = Transformer.of(objective.probed.model.config)
    batches = [objective.batch(WARM_UP + step, size=BATCH) for step in range(2)]
    of_input = probed_flops(shape, torch.full((BATCH,), LENGTH - 2)) / BATCH
    of_decoder = sum(training_flops(objective.module.config, batch.ragged) for batch in batches) / len(batches)
    dtype = str(objective.module.compute_dtype).removeprefix("torch.")
    ceilings = f"square products reach {best[0] / 1e9:,.0f} in float32, {best[1] / 1e9:,.0f} in bfloat16"
    return [
        {"name": "decoder on text, operations in the probed model",
         "value": of_input * spent.inputs / spent.captured / 1e9,
         "unit": "GFLOP/s", "detail": f"{of_input / 1e9:.2f} GFLOP an input, in float32; {ceilings}"},
        {"name": "decoder on text, operations in the decoder", "value": of_decoder * steps / spent.decoder / 1e9,
         "unit": "GFLOP/s", "detail": f"{of_decoder / BATCH / 1e9:.2f} GFLOP an activation, in {dtype}"},
    ]  # fmt: skip


def probed_flops(shape: Transformer, positions: Tensor) -> float:
    """Operations of a forward up to the deepest site, for inputs cut behind these positions."""
    parts = run_together(positions, tokens_at_once(shape.d_model, torch.device("cpu")))
    return sum(len(part.rows) * shape.forward_flops(part.length, layers=DEEPEST + 1) for part in parts)


def bf16_rows() -> list[Row]:
    """How far activations in bf16 are from those of the same weights in fp32: the addition model's, in `tl`."""
    study = load_study("addition", device="cpu")
    half = copy.deepcopy(study.probed.model).bfloat16()
    models = [ProbedModel(model, convention="tl") for model in (half, copy.deepcopy(half).float())]
    tokens = study.task.sample(1000, generator=torch.Generator().manual_seed(0))
    inside = study.task.eligible(tokens)
    activations = [model.capture(tokens, study.sites) for model in models]
    apart = torch.stack(
        [
            (one.float() - activations[1][site]).norm(dim=-1) / activations[1][site].norm(dim=-1)
            for site, one in activations[0].items()
        ]
    )[:, inside]
    return [
        {"name": "activations in bf16, mean distance from fp32", "value": float(apart.mean()), "unit": "of its length",
         "detail": f"of the site where it is largest {float(apart.mean(dim=1).max()):.4f}; "
         f"over 0.1 in {float((apart > 0.1).float().mean()):.4%} of all, at most {float(apart.max()):.2f}"}
    ]  # fmt: skip


def memory_rows(*, quick: bool = False) -> list[Row]:
    """Peak resident memory of a process that trains, and what it is made of."""
    command = [sys.executable, "-m", "benchmarks.text_training", "--peak-memory", *(["--quick"] if quick else [])]
    done = subprocess.run(command, cwd=ROOT, env=os.environ | ON_CPU, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"the training run whose memory was to be measured failed: {done.stderr[-2000:]}")
    sizes: dict[str, int] = json.loads(done.stdout.splitlines()[-1])
    gb = {name: size / 1e9 for name, size in sizes.items()}
    rest = gb["peak"] - gb["before"] - gb["probed"] - 4 * gb["decoder"]
    detail = (
        f"{gb['before']:.2f} of it Python and its libraries, {gb['probed']:.2f} the probed model, "
        f"{4 * gb['decoder']:.2f} the decoder's weights, gradients and two moments, {rest:.2f} all else, "
        f"of which the logits that are held at once may be {gb['logits']:.2f} (all of a batch: {gb['all_logits']:.2f})"
    )
    return [{"name": "decoder on text, peak resident memory", "value": gb["peak"], "unit": "GB", "detail": detail}]


def train_for_memory(*, quick: bool) -> dict[str, int]:
    """Train a few steps, and give in bytes the peak of this process and what is known to be in it."""
    from inversionview.decoder.loss import IN_CACHE, LOGITS_AT_ONCE

    before, model = peak_bytes(), gpt2(quick=quick)
    objective = make_objective(model, LIKE_FOR_LIKE, n_statistics=BATCH if quick else 1024)
    measure_ours(objective, 1)
    width = objective.module.compute_dtype.itemsize
    sizes = [sum(4 * p.numel() for p in module.parameters()) for module in (model, objective.module)]
    return {
        "before": before, "peak": peak_bytes(), "probed": sizes[0], "decoder": sizes[1],
        "logits": width * LOGITS_AT_ONCE + 4 * IN_CACHE, "all_logits": 4 * BATCH * (LENGTH - 1) * VOCABULARY,
    }  # fmt: skip


def gpt2(*, quick: bool) -> GPT2LMHeadModel:
    """GPT-2 small's shape with random weights."""
    torch.manual_seed(0)
    config = GPT2Config(n_embd=48, n_head=12) if quick else GPT2Config()
    model: GPT2LMHeadModel = GPT2LMHeadModel(config).eval()
    return model


def measure_ours(objective: DecoderObjective, steps: int) -> Spent:
    """The loop's steps after the first ones: these few need no other inputs than those that come in at the first."""
    config = TrainingConfig(batch_size=BATCH, steps=WARM_UP + steps, log_every=1, warmup_steps=1)
    recorder = Recorder()
    with noted_captures() as captures, tempfile.TemporaryDirectory() as folder:
        train(objective, config, Path(folder) / "run", logger=recorder)
    first, last = recorder.logged[WARM_UP], recorder.logged[WARM_UP + steps]
    parts = [
        last[f"share_{name}"] * last["seconds"] - first[f"share_{name}"] * first["seconds"]
        for name in ("forward_backward", "optimizer")
    ]
    captured = sum(one.seconds for one in captures), sum(one.inputs for one in captures)
    return Spent(last["seconds"] - first["seconds"], sum(parts), *captured)


def make_objective(
    model: GPT2LMHeadModel, data: DecoderTrainingConfig, *, n_statistics: int = BATCH
) -> DecoderObjective:
    """A decoder of the paper's size for five heads."""
    probed, task = ProbedModel(model), RandomTexts()
    decoder = make_decoder(probed, task, [Site.parse(site) for site in SITES], n_statistics=n_statistics)
    return DecoderObjective(decoder, probed, task, data)


class Capture(NamedTuple):
    """A forward of the probed model that the loop asked for."""

    inputs: int
    seconds: float


@contextmanager
def noted_captures() -> Iterator[list[Capture]]:
    """The forwards that are asked for meanwhile."""
    captures: list[Capture] = []

    def noted(probed: ProbedModel, tokens: Tensor, places: Tensor, sites: Sequence[Site]) -> dict[Site, Tensor]:
        start = perf_counter()
        read = read_vectors(probed, tokens, places, sites)
        captures.append(Capture(len(tokens), perf_counter() - start))
        return read

    with patch("inversionview.decoder.pool.read_vectors", noted):
        yield captures


def measure_plain(lens: Any, decoder: Decoder, steps: int, *, bf16: bool) -> float:
    """Seconds of capturing into Python lists, then training with Hugging Face's Trainer."""
    from transformers import Trainer, TrainingArguments

    generator = torch.Generator().manual_seed(0)
    tokens = RandomTexts().sample(BATCH * steps, generator=generator)
    positions = torch.randint(1, LENGTH - 1, (len(tokens),), generator=generator)
    module = Plain(copy.deepcopy(decoder))
    module.decoder.compute_dtype = torch.float32
    start = perf_counter()
    instances = captured(lens, tokens, positions)
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder, per_device_train_batch_size=BATCH, max_steps=steps, save_strategy="no", report_to="none",
            logging_strategy="no", disable_tqdm=True, use_cpu=True, remove_unused_columns=False, learning_rate=1e-4,
            bf16=bf16,
        )  # fmt: skip
        Trainer(model=module, args=arguments, train_dataset=instances).train()
    return perf_counter() - start


def captured(lens: Any, tokens: Tensor, positions: Tensor) -> list[dict[str, Any]]:
    """One instance an input, at its position and at one site, as Python lists."""
    names = {site: Site.parse(site) for site in SITES}
    hooks = {f"blocks.{site.layer}.attn.hook_result" for site in names.values()}
    instances: list[dict[str, Any]] = []
    for rows, at in zip(torch.split(tokens, BATCH), torch.split(positions, BATCH), strict=True):
        with torch.no_grad():
            _, cache = lens.run_with_cache(rows, names_filter=lambda name: name in hooks, stop_at_layer=DEEPEST + 1)
        for i, (row, position) in enumerate(zip(rows, at.tolist(), strict=True)):
            index = len(instances) % len(SITES)
            site = names[SITES[index]]
            value = cache[f"blocks.{site.layer}.attn.hook_result"][i, position, site.head]
            instances.append({"tokens": row.tolist(), "activation": value.tolist(), "site": index})
    return instances


class Plain(nn.Module):
    """The decoder as the Trainer wants it: columns in, a loss out, all logits at once."""

    def __init__(self, decoder: Decoder) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(self, tokens: Tensor, activation: Tensor, site: Tensor) -> dict[str, Tensor]:
        logits = self.decoder(tokens[:, :-1], activation, site)
        loss = F.cross_entropy(logits, tokens[:, 1:].flatten(), reduction="sum")
        return {"loss": loss / len(tokens)}


if __name__ == "__main__":
    if sys.argv[1:2] == ["--peak-memory"]:
        print(json.dumps(train_for_memory(quick="--quick" in sys.argv)))
    else:
        from benchmarks.run import main

        main(["text_training", *sys.argv[1:]])
