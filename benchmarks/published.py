"""How much sooner our training of a decoder is as good as the published way of it, on one core.

The published way (InversionView, arXiv 2405.17653) is written afresh as a plain loop: a decoder of the paper's size,
AdamW at a constant 1e-4 in fp32, 256 inputs a step, each with an activation that TransformerLens captures at one random
site and position, and each trained to its end. Ours is `inversionview train addition`. Both learn to invert the same
model, each in a process of its own with one thread, one after the other, and both are measured in the same way, which
is not a part of their time: the share of samples, one for each of some held-out inputs a site, that are members at
ε = 0.1 under rule `any`. A run of ours has a length, and a learning rate that falls to its end, so each point of our
curve is a whole run, from nothing to the decoder on disk; the other's curve is of one run.

Both curves are kept in `runs/published`, and a benchmark that was stopped goes on. The long one can be made beforehand:
`python -m benchmarks.published theirs`.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter, process_time
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from benchmarks.common import RUNS, Row, addition_model, commit, describe_machine, in_one_thread, transformer_lens
from benchmarks.plain_decoder import PlainDecoder, mean_loss
from inversionview.decoder.sampling import sample
from inversionview.files import read_json, read_metadata, read_tensors, write_json, write_tensors
from inversionview.preimage.verification import best, eligible_distances, within
from inversionview.probed.model import ProbedModel
from inversionview.seeds import seeded
from inversionview.shapes import Positions, Tokens
from inversionview.sites import Site
from inversionview.studies.recipes import Budget, decoder_recipe
from inversionview.studies.study import load_study
from inversionview.studies.training_runs import default_sites, train_decoder
from inversionview.tasks import Task, get_task
from inversionview.tasks.positions import draw_positions

FOLDER = RUNS / "published"
RATE, TARGET, EPSILON = 0.45, 10.0, 0.1
LIMIT = 20 * 60.0
"""Seconds after which the published way is cut."""
EVERY = 60.0
"""Seconds between two measurements of it."""
OURS = (30.0, 45.0, 60.0, 87.0, 130.0, 200.0, 300.0)
"""Lengths of our runs in seconds: the next one is made where the rate was not reached."""
BATCH, LEARNING_RATE, WEIGHT_DECAY = 256, 1e-4, 0.01
QUERIES = 200
"""Held-out inputs a site."""

Draw = Callable[[Float[Tensor, "query d_model"], Positions, Generator], Tokens]
"""One sample for each activation and index of its site."""


class Point(NamedTuple):
    """Where a curve is after a time."""

    seconds: float
    cpu_seconds: float
    steps: int
    rate: float
    """In-ε, rule any."""
    se: float


@dataclass(frozen=True)
class Sizes:
    """How much is done; `quick` only tries it out."""

    limit: float = LIMIT
    every: float = EVERY
    queries: int = QUERIES
    ours: tuple[float, ...] = OURS
    steps: int | None = None
    """Steps of each run, in place of its length in seconds."""


QUICK = Sizes(limit=1.0, queries=2, ours=OURS[:1], steps=2)


class Setting(NamedTuple):
    """What both ways train on."""

    probed: ProbedModel
    task: Task
    sites: list[Site]


def run(*, quick: bool = False) -> list[Row]:
    """How many times faster ours is, with both curves."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) if quick else FOLDER
        for way in ("ours", "theirs"):
            in_one_thread("benchmarks.published", way, "--folder", str(folder), *(["--quick"] if quick else []))
        ours, theirs = (read_curve(folder / f"{way}.json") for way in ("ours", "theirs"))
        return rows(ours, theirs, floor_of(make_setting(), (QUICK if quick else Sizes()).queries))


def rows(ours: Sequence[Point], theirs: Sequence[Point], floor: float) -> list[Row]:
    """The ratio at `RATE`, and at the rate that the published way had in the end; then both curves.

    A rate up to the floor needs nothing but right sums, which ours is told: what that is compared at says nothing.
    """
    about = f"{addition_model()[1]}, one thread each, in-ε rule any at ε = {EPSILON:g}, floor {floor:.3f}"
    last = theirs[-1]
    result: list[Row] = [{**_times(ours, theirs, RATE, about), "target": TARGET, "sense": "at least"}]
    if floor < last.rate < RATE:
        result.append(_times(ours, theirs, last.rate, "the rate at which the published way was cut"))
    for name, curve in (("ours", ours), ("the published way", theirs)):
        result.append({
            "name": f"{name}, in-ε rate (any) in the end", "value": curve[-1].rate, "unit": "of samples",
            "detail": f"after {curve[-1].seconds:,.0f} s; {_told(curve)}",
        })  # fmt: skip
    return result


def reached(curve: Sequence[Point], rate: float) -> Point | None:
    """The first point of a curve with this rate."""
    return next((point for point in curve if point.rate >= rate), None)


def _times(ours: Sequence[Point], theirs: Sequence[Point], rate: float, about: str) -> Row:
    mine, other = reached(ours, rate), reached(theirs, rate)
    row: Row = {"name": f"times to equal quality, in-ε {rate:.3g}", "value": 0.0, "unit": "times"}
    if mine is None:
        return {**row, "detail": f"ours reached {max(p.rate for p in ours):.3f} in {ours[-1].seconds:,.0f} s; {about}"}
    until = other or theirs[-1]
    cut = "" if other else f" (cut there, at {until.rate:.3f})"
    return {
        **row,
        "value": until.seconds / mine.seconds,
        "unit": "times" if other else "times, or more",
        "detail": f"ours {mine.seconds:,.0f} s, the published way {until.seconds:,.0f} s{cut}; by CPU time "
        f"{until.cpu_seconds / mine.cpu_seconds:.3g}; {about}",
    }


def _told(curve: Sequence[Point], most: int = 10) -> str:
    step = -(-len(curve) // most)
    return ", ".join(f"{point.rate:.3f} at {point.seconds:,.0f} s" for point in curve[::-1][::step][::-1])


def measure_ours(folder: Path, sizes: Sizes) -> list[Point]:
    """Whole runs of growing length, until the rate is reached; those of the same commit are not made again."""
    path, settings = folder / "ours.json", {"commit": commit(), "sizes": dataclasses.asdict(sizes)}
    points = read_curve(path, settings)
    for seconds in sizes.ours[len(points) :]:
        if reached(points, RATE):
            break
        with tempfile.TemporaryDirectory() as temporary:
            points.append(one_of_ours(Path(temporary) / "study", seconds, sizes))
        write_curve(path, settings, points)
    return points


def one_of_ours(out: Path, seconds: float, sizes: Sizes) -> Point:
    """One run of `inversionview train addition`."""
    budget = Budget(steps=sizes.steps) if sizes.steps else Budget(minutes=seconds / 60)
    clock = _Clock()
    result = train_decoder("addition", out, model=addition_model()[0], convention="tl", budget=budget, seed=0)
    clock.stop()
    study = load_study(out)
    assert study.decoder is not None
    decoder, sites = study.decoder, [Site.parse(site) for site in study.sites]

    def draw(z: Tensor, site_index: Tensor, generator: Generator) -> Tensor:
        return sample(decoder, z, site_index, 1, generator=generator).tokens[:, 0]

    rate = in_epsilon_any(draw, Setting(study.probed, study.task, sites), sizes.queries)
    return Point(clock.seconds, clock.cpu_seconds, result.steps, *rate)


def measure_theirs(folder: Path, sizes: Sizes) -> list[Point]:
    """The plain loop until it has the rate or is cut; what a killed one did up to its last measurement is kept."""
    settings = {"batch": BATCH, "learning_rate": LEARNING_RATE, "weight_decay": WEIGHT_DECAY, "every": sizes.every,
                "queries": sizes.queries, "model": addition_model()[1]}  # fmt: skip
    path, points = folder / "theirs.json", read_curve(folder / "theirs.json", settings)
    if points and (reached(points, RATE) or points[-1].seconds >= sizes.limit):
        return points
    clock = _Clock()
    setting = make_setting()
    lens = transformer_lens(setting.probed.model)
    loop = PublishedLoop(setting, lens, size=BATCH)
    points = loop.load(folder, points)
    if points:
        clock.go_on_from(points[-1])
    while not points or not (reached(points, RATE) or clock.seconds >= sizes.limit):
        until = min(sizes.limit, (points[-1].seconds if points else 0.0) + sizes.every)
        losses = [loop.step()]  # however long the loading took
        while clock.seconds < until:
            losses.append(loop.step())
        with clock.stopped():
            rate = in_epsilon_any(loop.decoder.draw, setting, sizes.queries)
            points = [*points, Point(clock.seconds, clock.cpu_seconds, loop.steps, *rate)]
            loop.save(folder, points)
            write_curve(path, settings, points)
            loss = sum(losses) / len(losses)
            print(
                f"{points[-1].seconds:,.0f} s, {loop.steps:,} steps: {rate[0]:.4f}, {loss:.3f} nats a token", flush=True
            )
    return points


class PublishedLoop:
    """Training as published, a step at a time."""

    def __init__(self, setting: Setting, lens: Any, *, size: int = BATCH, seed: int = 0) -> None:
        self.setting, self.lens, self.size, self.seed, self.steps = setting, lens, size, seed, 0
        torch.manual_seed(seed)
        task = setting.task
        self.decoder = PlainDecoder(
            setting.probed.d_model, len(setting.sites), task.vocab_size, task.max_length,
            begin=task.begin, end=task.end, pad=task.pad,
        )  # fmt: skip
        self.optimizer = torch.optim.AdamW(self.decoder.parameters(), LEARNING_RATE, weight_decay=WEIGHT_DECAY)

    def batch(self, step: int, size: int) -> tuple[Tokens, Tensor, Positions]:
        """Training inputs, and the activation of each at a random site and position, with the site's index."""
        task, generator = self.setting.task, seeded(self.seed, step)
        tokens = task.sample(size, generator=generator, split="train")
        positions = draw_positions(task, tokens, generator)
        site_index = torch.randint(len(self.setting.sites), (size,), generator=generator)
        return tokens, captured(self.lens, self.setting.sites, tokens, positions, site_index), site_index

    def step(self) -> float:
        """One step of the optimiser; gives the loss."""
        tokens, activations, site_index = self.batch(self.steps, self.size)
        loss = mean_loss(self.decoder(tokens[:, :-1], activations, site_index), tokens, self.setting.task.end)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.steps += 1
        return loss.item()

    def save(self, folder: Path, points: Sequence[Point]) -> None:
        """Keep weights, moments and the curve so far in one file."""
        folder.mkdir(parents=True, exist_ok=True)
        tensors = dict(self.decoder.state_dict())
        for name, parameter in self.decoder.named_parameters():
            state = self.optimizer.state[parameter]
            tensors |= {f"{key}/{name}": state[key] for key in ("exp_avg", "exp_avg_sq")}
        write_tensors(folder / "theirs.safetensors", tensors, {"points": json.dumps(points), "steps": str(self.steps)})

    def load(self, folder: Path, points: Sequence[Point]) -> list[Point]:
        """Take up what `save` wrote, if anything and of this curve; gives the curve up to there."""
        path = folder / "theirs.safetensors"
        if not points or not path.is_file():
            return []
        kept, tensors = read_metadata(path), read_tensors(path)
        self.steps = int(kept["steps"])
        weights = {name: value for name, value in tensors.items() if "/" not in name}
        self.decoder.load_state_dict(weights)
        for name, parameter in self.decoder.named_parameters():
            moments = {key: tensors[f"{key}/{name}"] for key in ("exp_avg", "exp_avg_sq")}
            self.optimizer.state[parameter] = {"step": torch.tensor(float(self.steps)), **moments}
        return [Point(*point) for point in json.loads(kept["points"])]


def captured(lens: Any, sites: Sequence[Site], tokens: Tokens, positions: Positions, site_index: Positions) -> Tensor:
    """The activation `[batch, d_model]` of each input at its own position and site, by TransformerLens."""
    hooks = {site: site.hook_name if site.head is None else site.hook_name.rpartition(".")[0] for site in sites}
    names = set(hooks.values())
    with torch.no_grad():
        _, cache = lens.run_with_cache(tokens, names_filter=lambda name: name in names)
    rows, width = torch.arange(len(tokens)), lens.cfg.d_model
    values = []
    for site in sites:
        at = cache[hooks[site]][rows, positions]
        values.append(at if site.head is None else at.reshape(len(at), -1, width)[:, site.head])
    return torch.stack(values)[site_index, rows]


def in_epsilon_any(draw: Draw, setting: Setting, n: int) -> tuple[float, float]:
    """The share of samples that are members under rule any, the mean over sites, and its standard error."""
    generator, (probed, task, sites) = seeded(0), setting
    hits = []
    for index, site in enumerate(sites):
        tokens = task.sample(n, generator=generator, split="held-out")
        z = probed.capture(tokens, [site], draw_positions(task, tokens, generator))[site]
        with torch.no_grad():
            drawn = draw(z, torch.full((n,), index), generator)
        nearest = best(eligible_distances(probed, task, drawn, site, z, metric="euclidean"))
        hits.append(within(nearest, task.contains(drawn), EPSILON).double())
    rates = torch.stack(hits).mean(dim=1)
    return float(rates.mean()), float((rates * (1 - rates) / n).sum().sqrt() / len(sites))


def floor_of(setting: Setting, n: int) -> float:
    """The rate of random inputs of the domain."""
    return in_epsilon_any(lambda z, _, generator: setting.task.sample(len(z), generator=generator), setting, n)[0]


def make_setting() -> Setting:
    """The model of addition, and the sites that the paper reads."""
    plan = decoder_recipe("addition")(Budget(), 0)
    probed = ProbedModel.from_pretrained(addition_model()[0], convention="tl", device="cpu")
    return Setting(probed, get_task(plan.task), [Site.parse(site) for site in default_sites(probed, plan.kinds)])


def read_curve(path: Path, settings: dict[str, Any] | None = None) -> list[Point]:
    """The points that were kept; none where there is no such curve, or it was measured in another way or elsewhere."""
    if not path.is_file():
        return []
    kept = read_json(path, "curve")
    if settings is not None and (kept["settings"] != _as_json(settings) or kept["machine"] != _machine()):
        return []
    return [Point(**point) for point in kept["points"]]


def write_curve(path: Path, settings: dict[str, Any], points: Sequence[Point]) -> None:
    """Keep a curve with what it depends on."""
    path.parent.mkdir(parents=True, exist_ok=True)
    document = {"schema": 1, "settings": settings, "machine": _machine(), "load": describe_machine()["load_before"]}
    write_json(path, {**document, "points": [point._asdict() for point in points]})


def _machine() -> dict[str, Any]:
    return {name: value for name, value in describe_machine().items() if name in ("processor", "cores", "torch")}


def _as_json(value: Any) -> Any:
    return json.loads(json.dumps(value))


class _Clock:
    """Wall and processor seconds, but for those in which it is stopped."""

    def __init__(self) -> None:
        self._begun = perf_counter(), process_time()
        self._until: tuple[float, float] | None = None

    @property
    def seconds(self) -> float:
        return (self._until or (perf_counter(), 0.0))[0] - self._begun[0]

    @property
    def cpu_seconds(self) -> float:
        return (self._until or (0.0, process_time()))[1] - self._begun[1]

    def stop(self) -> None:
        self._until = perf_counter(), process_time()

    @contextmanager
    def stopped(self) -> Iterator[None]:
        self.stop()
        assert self._until is not None
        until = self._until
        yield
        self._begun = self._begun[0] + perf_counter() - until[0], self._begun[1] + process_time() - until[1]
        self._until = None

    def go_on_from(self, point: Point) -> None:
        """Begin at a point of an earlier run, in place of what this one has spent in loading."""
        self._begun = perf_counter() - point.seconds, process_time() - point.cpu_seconds


def main(args: Sequence[str] | None = None) -> None:
    """Measure one way in this process."""
    parser = argparse.ArgumentParser(description="Measure one way, in one thread, and keep its curve.")
    parser.add_argument("way", choices=("ours", "theirs"))
    parser.add_argument("--folder", type=Path, default=FOLDER)
    parser.add_argument("--minutes", type=float, default=LIMIT / 60, help="after which the published way is cut")
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args(args)
    torch.set_num_threads(1)
    sizes = QUICK if options.quick else Sizes(limit=60 * options.minutes)
    points = {"ours": measure_ours, "theirs": measure_theirs}[options.way](options.folder, sizes)
    print(f"{options.way}: {_told(points)}")


if __name__ == "__main__":
    main()
