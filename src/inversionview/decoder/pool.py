"""What a decoder is trained from: inputs of which one forward gave every site at every position.

Instances are drawn from the inputs that are there, many from each, while new inputs come in and the oldest make way. So
the probed model runs once for all that is taken of an input, and takes a bounded share of the work and of the memory.
Where a task lists its training inputs and there is room for all of them, each of them comes in once, and then no more.
What the pool holds at a step follows from the seed and the step alone: a run that is resumed has the same one again.
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from inversionview.bank.bank import Bank
from inversionview.bank.passes import read_vectors
from inversionview.decoder.given import Given, given_by
from inversionview.decoder.model import Decoder, NextClasses
from inversionview.decoder.places import Chosen, Places
from inversionview.errors import UserError
from inversionview.files import read_tensors, write_tensors
from inversionview.probed.coordinates import Coordinates
from inversionview.probed.hooks import products_in
from inversionview.probed.model import ProbedModel
from inversionview.progress import stage
from inversionview.seeds import mixed
from inversionview.tasks.base import Task
from inversionview.training.precision import fast_dtype
from inversionview.training.processes import Processes

_log = logging.getLogger(__name__)

COMING_IN = "running inputs to train from"
"""The stage in which inputs come in."""
PART_BYTES = 2**24
"""Of the inputs that come in together."""
MOST_INPUTS, FEWEST_INPUTS = 1024, 32
"""Of such a part, whatever it takes."""
FIRST_PARTS = 4
"""Parts that are there at the first step."""
SHARE_OF_WORK = 0.2
"""Of a run's operations, what the probed model may take."""
PASSES = (8, 48)
"""Instances that are taken of an input on average, at least and at most: of few inputs, a decoder learns these."""
FAST_FROM = 10_000_000
"""Weights of a model in fp32 beyond which inputs run in the machine's fast number format; they are only trained on."""
KEPT_FROM, TOLD_FROM = 0.5, 5.0
"""Seconds from which on a part is worth keeping on disk, so that a resumed run need not make it again; and seconds of
making them again from which on that is worth saying."""


def passes_for(capture: float, training: float) -> int:
    """Instances of an input, so that new inputs take their share of the work and no more.

    `capture` are the operations of an input in the probed model, `training` those of an instance in the decoder.
    """
    least, most = PASSES
    return max(least, min(most, math.ceil(capture / training * (1 - SHARE_OF_WORK) / SHARE_OF_WORK)))


@dataclass(eq=False)
class Pool:
    """Training inputs and what is read of them, a ring of parts of which a new one takes the oldest one's place."""

    decoder: Decoder
    """Which is trained from it."""
    probed: ProbedModel
    task: Task
    places: Places
    """What says where inputs may be read."""
    passes: int
    megabytes: int
    seed: int = 0
    folder: Path | None = None
    """Where parts are kept for a run that is resumed."""
    bank: Bank | None = None
    """What the first inputs are taken from; new ones come in after these."""
    _made: int = field(default=0, init=False)
    """Parts that have come in so far."""
    _now: int = field(default=0, init=False)
    """And by the step that was last asked about."""
    seconds: float = field(default=0.0, init=False)
    """That new inputs have taken so far."""
    _latest: float = field(default=0.0, init=False)
    """And the latest part of them."""

    def __post_init__(self) -> None:
        self.sites = tuple(map(self.probed.site, self.decoder.config.sites))
        widths = [Coordinates(self.probed).width(site) for site in self.sites]
        self._widths = torch.tensor(widths)
        self._offsets = self._widths.cumsum(0) - self._widths
        self._total = sum(widths)
        constraints = self.decoder.config.classes if self.decoder.config.constrained else 0
        of_input = self.task.max_length * (4 * self._total + constraints)
        self.part = max(FEWEST_INPUTS, min(MOST_INPUTS, PART_BYTES // of_input))
        self.parts = max(FIRST_PARTS, self.megabytes * 2**20 // (self.part * of_input))
        self._listed = None if self.bank is not None else self.task.training_inputs
        self.most: float = math.inf
        """Parts that come in, all in all."""
        if self._listed is not None and (of_all := -(-len(self._listed) // self.part)) <= self.parts:
            self.parts, self.most = of_all, of_all
        self.first, self._given = min(FIRST_PARTS, self.parts), None
        if self.bank is not None:
            self._given = given_by(self.bank, self.probed, self.task, self.sites, self.parts * self.part)
            n = len(self._given.tokens)
            self.first = -(-n // self.part)
            self.part = n // self.first
        self._processes = Processes(None, self.probed.device)
        rows = self.part * self.parts
        # Memory that nothing was written to yet is not taken.
        self._tokens = torch.empty(rows, self.task.max_length, dtype=torch.long)
        self._undecided = torch.empty(rows, dtype=torch.long)
        self._table: Tensor | None = None
        self._possible: Tensor | None = None
        self._vectors = torch.empty(rows, self.task.max_length, self._total)

    def begin(self) -> None:
        """Let the first inputs come in, which takes a while in a large model."""
        with stage(COMING_IN, self.first * self.part):
            self._advance(self.first)

    def draw(self, step: int, n: int, weights: Float[Tensor, "site pos"], generator: torch.Generator) -> Chosen:
        """The `n` instances of a step, of the inputs that are there then; new inputs come in here."""
        self._advance(int(min(self.most, self.first + step * n // (self.passes * self.part))))
        there = self.part * min(self._now, self.parts)
        assert self._table is not None
        return self.places.draw(self._tokens[:there], self._table[:there], n, weights, generator)

    def seconds_of(self, n: int) -> float:
        """What new inputs take, on average, for `n` instances."""
        return self._latest * n / (self.passes * self.part) if self._now < self.most else 0.0

    def tokens(self, rows: Int[Tensor, " batch"]) -> Int[Tensor, "batch pos"]:
        """Some of the inputs."""
        return self._tokens[rows]

    def possible(self, rows: Int[Tensor, " batch"]) -> NextClasses | None:
        """Which classes can follow each token of some of the inputs; None where all can."""
        return None if self._possible is None else self._possible[rows]

    def undecided(self, rows: Int[Tensor, " batch"]) -> Int[Tensor, " batch"]:
        """How many tokens of them there are to learn, as `Decoder.undecided` says."""
        return self._undecided[rows]

    def vectors(self, chosen: Chosen) -> Float[Tensor, "batch width"]:
        """What was read of instances, in coordinates of their sites; zeros after the narrower ones."""
        rows, positions, site_index = chosen
        column = torch.arange(int(self._widths.max()))
        start = (rows * self._vectors.shape[1] + positions) * self._total + self._offsets[site_index]
        inside = column < self._widths[site_index, None]
        taken = self._vectors.view(-1)[torch.where(inside, start[:, None] + column, 0)]
        return taken.masked_fill(~inside, 0.0)

    # What comes in

    def _advance(self, wanted: int) -> None:
        """Make the pool what it is when so many parts have come in."""
        if wanted < self._now and self._made > self.parts:
            self._made = 0  # what was there has made way
        self._now = wanted
        first, start = max(self._made, wanted - self.parts), perf_counter()
        resumed, again = self._made == 0 and wanted > self.first, []
        for number in range(first, wanted):
            begun = perf_counter()
            if not self._take_in(number) and number < wanted - 1:
                again.append(number)
            self._latest = perf_counter() - begun
            self.seconds += self._latest
        if again and resumed and (seconds := perf_counter() - start) > TOLD_FROM:
            _log.warning(
                "%d inputs of the run that is resumed were gone from %s, and were run through the model again in "
                "%.0f s", len(again) * self.part, self.folder, seconds,
            )  # fmt: skip
        self._made = max(self._made, wanted)

    def _take_in(self, number: int) -> bool:
        """Put a part in its place; whether it was on disk."""
        generator = torch.Generator().manual_seed(mixed(self.seed, number))
        given = self._of_bank(number)
        drawn = self._new(number, generator) if given is None else given.tokens
        tokens = F.pad(drawn, (0, self.task.max_length - drawn.shape[1]), value=self.task.pad)
        table = self.places.table(tokens, generator)
        if self._table is None:
            self._table = torch.empty(len(self._tokens), *table.shape[1:], dtype=torch.long)
        there = slice(number % self.parts * self.part, (number % self.parts + 1) * self.part)
        self._tokens[there], self._table[there] = tokens, table
        self._note(there, self.decoder.adapter.to_own(tokens).tokens)
        if given is not None:
            self._vectors[there] = given.vectors
            return True
        kept = self._kept(number, tokens)
        [found] = self._processes.highest(int(kept is not None))
        start = perf_counter()
        if found:
            self._vectors[there] = self._shared(kept)
            return True
        with stage(COMING_IN, self.part):
            self._vectors[there] = self._shared(self._read(tokens))
        if perf_counter() - start > KEPT_FROM:
            self._keep(number, tokens, self._vectors[there])
        return False

    def _new(self, number: int, generator: torch.Generator) -> Tensor:
        """The inputs of a part; of a task that lists its own, all of them in a random order, time after time."""
        if self._listed is None:
            return self.task.sample(self.part, generator=generator, split="train")
        n, start = len(self._listed), number * self.part
        times = range(start // n, (start + self.part - 1) // n + 1)
        shuffles = [torch.randperm(n, generator=torch.Generator().manual_seed(mixed(self.seed, t, 1))) for t in times]
        return self._listed[torch.cat(shuffles)[start - times[0] * n :][: self.part]]

    def _note(self, there: slice, own: Tensor) -> None:
        """What can follow the tokens of a part: the task is asked once, and not in each step."""
        possible = self.decoder.possible(own)
        if possible is not None:
            if self._possible is None:
                self._possible = torch.empty(len(self._tokens), *possible.shape[1:], dtype=torch.bool)
            self._possible[there] = possible
        self._undecided[there] = self.decoder.undecided(own, possible)

    def _of_bank(self, number: int) -> Given | None:
        """A part of what the bank gives; None for one that is new."""
        if self._given is None or number >= self.first:
            return None
        rows = slice(number * self.part, (number + 1) * self.part)
        return Given(self._given.tokens[rows], self._given.vectors[rows])

    def _read(self, tokens: Tensor) -> Tensor:
        """What this process reads of a part: every so many-th input, zeros elsewhere."""
        rows = slice(self._processes.rank, None, self._processes.world)
        eligible = self.task.eligible(tokens)
        eligible[:, 0] = True
        places = torch.where(eligible, torch.arange(tokens.shape[1]), -1)[rows]
        weights = sum(parameter.numel() for parameter in self.probed.model.parameters())
        full = self.probed.dtype == torch.float32 and weights > FAST_FROM
        with products_in(fast_dtype(self.probed.device) if full else torch.float32):
            read = read_vectors(self.probed, tokens[rows], places, self.sites)
        whole = torch.zeros(len(tokens), tokens.shape[1], self._total)
        whole[rows] = torch.cat([read[site] for site in self.sites], dim=2)
        return whole

    def _shared(self, mine: Tensor | None) -> Tensor:
        """The sum over processes, of which each has something else of a part, or nothing."""
        whole = torch.zeros(self.part, self.task.max_length, self._total) if mine is None else mine
        return self._processes.total(whole)

    # What is kept of it

    def _file(self, number: int) -> Path | None:
        return None if self.folder is None else self.folder / f"part-{number:06d}.safetensors"

    def _kept(self, number: int, tokens: Tensor) -> Tensor | None:
        """A part as it was kept by the first process; None in the others, and where it is gone or damaged."""
        file = self._file(number)
        if file is None or not self._processes.is_first or not file.is_file():
            return None
        try:
            read = read_tensors(file)
        except UserError:
            return None
        whole = read.get("tokens"), read.get("vectors")
        return whole[1] if whole[0] is not None and torch.equal(whole[0], tokens) else None

    def _keep(self, number: int, tokens: Tensor, vectors: Tensor) -> None:
        file = self._file(number)
        if file is None or not self._processes.is_first:
            return
        file.parent.mkdir(parents=True, exist_ok=True)
        write_tensors(file, {"tokens": tokens, "vectors": vectors.contiguous()})
        old = self._file(number - self.parts)
        if old is not None and number >= self.parts:
            old.unlink(missing_ok=True)
