"""What a decoder is trained on: activations made on the fly from the task's training inputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, Unpack

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from inversionview.decoder.backbone import load_backbone
from inversionview.decoder.loss import IGNORED
from inversionview.decoder.model import Decoder, DecoderConfig, DecoderSizes, RaggedRows, own_decoder
from inversionview.decoder.places import ANYWHERE, Places, make_places
from inversionview.decoder.pretrained import pretrained_decoder
from inversionview.decoder.tokens import Retokenised
from inversionview.errors import UserError
from inversionview.probed.model import ProbedModel
from inversionview.progress import advance, stage
from inversionview.seeds import seeded
from inversionview.shapes import Activations, Positions, Tokens
from inversionview.sites import Site
from inversionview.tasks import Task
from inversionview.tasks.positions import draw_positions, first_end
from inversionview.tasks.vocabulary import Vocabulary


class CellHits(NamedTuple):
    """How many samples were drawn for activations of each cell (a site and a position), and how many were inside ε."""

    hits: Float[Tensor, "site pos"]
    drawn: Float[Tensor, "site pos"]


Rates = Callable[[Decoder], CellHits]
"""Measures where a decoder succeeds."""

PRIOR_DRAWS = 8
"""A cell's rate is its hits among its draws and this many more, which have the rate of its site."""
WEIGHTS = (1 / 3, 3.0)
"""No cell is trained on less or more often than this, relative to an equal share."""


@dataclass
class DecoderTrainingConfig:
    """How the instances of a decoder's training are made."""

    seed: int = 0
    activations_per_input: int = 1
    """Instances taken from one forward of the probed model; more where the probed model is the larger cost."""
    begin_share: float = 0.01
    """Share of activations taken at the begin token: the uninformed activation, against which tokens are coloured."""
    full_share: float = 0.2
    """Share of instances trained to the end of the input; the others stop at the position their activation comes from,
    since what comes after cannot have shaped it."""
    full_steps: int = 300
    """Steps at the start in which every instance is trained to its end: how an input goes on, here the sum of its two
    numbers, is learned first, and late if from a few instances only."""
    groups: int = 4
    """Instances of a batch are sorted by length and cut to one length a group."""
    reweight_every: int = 0
    """Steps between measurements of the in-ε rate, by which sites and positions are then drawn: those that lag behind
    more often, in proportion to 1 - rate. 0: all are drawn equally."""


class Batch(NamedTuple):
    """One rank's instances, sorted by length."""

    tokens: Tokens
    activations: Activations
    site_index: Positions
    lengths: Positions
    """Number of tokens, after begin, that count in the loss."""
    ragged: tuple[RaggedRows, ...]


@dataclass
class DecoderObjective:
    """Nats per instance on activations of training inputs; a pure function of (seed, step, weights)."""

    module: Decoder
    probed: ProbedModel
    task: Task
    config: DecoderTrainingConfig
    rates: Rates | None = None
    read: str = ANYWHERE
    """Which activations are taken: `anywhere`, or `attended`, as `places` says."""
    weights: Float[Tensor, "site pos"] = field(init=False)

    @property
    def after_step_period(self) -> int:
        """Steps between two times that `after_step` does its work."""
        return self.config.reweight_every or 1

    @property
    def steady_after(self) -> int:
        """Steps after which all cost alike: those before are of whole inputs."""
        return self.config.full_steps

    def __post_init__(self) -> None:
        self.sites = [self.probed.site(name) for name in self.module.config.sites]
        per_input, begin_share = self.config.activations_per_input, self.config.begin_share
        self.places = make_places(
            self.read, self.probed, self.task, self.sites, per_input=per_input, begin_share=begin_share
        )
        self.weights = torch.ones(len(self.sites), self.task.max_length)
        self.seen = CellHits(torch.zeros_like(self.weights), torch.zeros_like(self.weights))

    def batch(self, step: int, *, size: int, rank: int = 0, world: int = 1) -> Batch:
        """Make one rank's equal slice of the global batch of `step`."""
        generator = seeded(self.config.seed, step)
        tokens, positions, site_index = self.places.draw(size, self.weights, generator)
        share = 1.0 if step < self.config.full_steps else self.config.full_share
        whole = torch.rand(size, generator=generator) < share
        mine = slice(rank, None, world)
        tokens, positions, site_index, whole = tokens[mine], positions[mine], site_index[mine], whole[mine]
        activations = activations_at(self.probed, self.sites, tokens, positions, site_index)
        return self._ragged(tokens, activations, site_index, positions, whole)

    def _ragged(
        self, tokens: Tokens, activations: Activations, site_index: Positions, positions: Positions, whole: Tensor
    ) -> Batch:
        # The input's own length: the loss goes up to its end token.
        full = first_end(tokens, self.task.end)
        lengths = torch.where(whole | (positions == 0), full, positions)
        own = self.module.adapter.to_own(tokens)
        tokens, lengths = own.tokens, self.module.adapter.cut(own, lengths)
        order = lengths.argsort(stable=True)
        groups = [RaggedRows(len(part), int(lengths[part].max())) for part in order.chunk(self.config.groups)]
        device = activations.device
        return Batch(
            tokens[order].to(device),
            activations[order.to(device)],
            site_index[order].to(device),
            lengths[order].to(device),
            tuple(groups),
        )

    def loss(self, module: nn.Module, batch: Batch) -> Tensor:
        """Mean over instances of the summed negative log-probability of the tokens that count, in nats."""
        targets, start = [], 0
        for rows, length in batch.ragged:
            part = slice(start, start + rows)
            target = batch.tokens[part, 1 : length + 1]
            beyond = torch.arange(length, device=target.device) >= batch.lengths[part, None]
            targets.append(target.masked_fill(beyond, IGNORED).reshape(-1))
            start += rows
        total: Tensor = module(batch.tokens, batch.activations, batch.site_index, batch.ragged, torch.cat(targets))
        return total / len(batch.tokens)

    def after_step(self, step: int) -> dict[str, float]:
        """Measure the in-ε rates now and then, and draw the cells that lag behind more often."""
        every = self.config.reweight_every
        if not every or self.rates is None or step == 0 or step % every:
            return {}
        measured = self.rates(self.module)
        # Earlier measurements count for half as much with each new one: a cell has few draws in any one of them.
        self.seen = CellHits(self.seen.hits / 2 + measured.hits, self.seen.drawn / 2 + measured.drawn)
        self.weights = cell_weights(self.seen)
        rates = measured.hits.sum(dim=1) / measured.drawn.sum(dim=1)
        return {f"rate/{name}": float(rate) for name, rate in zip(self.module.config.sites, rates, strict=True)}

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps beside the module."""
        return {"hits": self.seen.hits.tolist(), "drawn": self.seen.drawn.tolist()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up where `state_dict` was taken."""
        self.seen = CellHits(torch.tensor(state["hits"]), torch.tensor(state["drawn"]))
        self.weights = cell_weights(self.seen)


def cell_weights(seen: CellHits) -> Float[Tensor, "site pos"]:
    """How often each cell is to be trained on, relative to an equal share: in proportion to 1 - rate, within bounds."""
    measured = seen.drawn > 0
    if not measured.any():
        return torch.ones_like(seen.hits)
    of_site = seen.hits.sum(dim=1, keepdim=True) / seen.drawn.sum(dim=1, keepdim=True).clamp(min=1)
    rates = (seen.hits + PRIOR_DRAWS * of_site) / (seen.drawn + PRIOR_DRAWS)
    missing = (1 - rates).clamp(min=1e-3)
    return torch.where(measured, (missing / missing[measured].mean()).clamp(*WEIGHTS), 1.0)


def activations_at(
    probed: ProbedModel, sites: Sequence[Site], tokens: Tokens, positions: Positions, site_index: Positions
) -> Activations:
    """Activation of each input at its own position and its own one of `sites`; one forward.

    [batch, width], padded with zeros to the widest.
    """
    needed = sorted(set(site_index.tolist()))
    captured = probed.capture(tokens, [sites[i] for i in needed], positions)
    device = next(iter(captured.values())).device
    width = max(values.shape[1] for values in captured.values())
    stacked = torch.stack([F.pad(captured[sites[i]], (0, width - captured[sites[i]].shape[1])) for i in needed])
    row_of = torch.zeros(len(sites), dtype=torch.long)
    row_of[needed] = torch.arange(len(needed))
    return stacked[row_of[site_index].to(device), torch.arange(len(tokens), device=device)]


FEWEST_STATISTICS = 256
"""Activations of each site by which it is normalised, at least."""
MOST_STATISTICS, STATISTICS_TOGETHER = 2**27, 2**24
"""Numbers in the activations of all sites by which they are normalised, at most, and of those captured at once."""
LENGTH_SAMPLES = 2000
"""Inputs that tell how long they are in the tokens of another tokenizer."""
SPARE = 1.25
"""Room for own tokens: so many times the longest of those inputs."""


@dataclass(frozen=True)
class Pretrained:
    """A language model that a decoder is made of, in place of layers of its own."""

    source: str
    """A folder, or a name on the hub."""
    lora_rank: int = 0
    """Rank of the matrices that LoRA adds to it; 0: all of its weights are trained."""


def make_decoder(
    probed: ProbedModel,
    task: Task,
    sites: Sequence[Site],
    *,
    seed: int = 0,
    n_statistics: int = 4096,
    places: Places | None = None,
    pretrained: Pretrained | None = None,
    **sizes: Unpack[DecoderSizes],
) -> Decoder:
    """A new decoder for these sites, its normalisation measured on `n_statistics` training inputs at most.

    Of many sites fewer, so that their activations take no more than 512 MB. With `places`, on activations that these
    choose, at least 256 of each site.
    Initial weights depend on `seed` alone, and on the language model that it
    is made of, where there is one. Raises `UserError` for one that does not fit the task.
    """
    widths = tuple(probed.width(site) for site in sites)
    config = DecoderConfig(
        sites=tuple(str(s) for s in sites),
        d_activation=max(widths),
        widths=() if len(set(widths)) == 1 else widths,
        vocab_size=task.vocab_size,
        max_length=task.max_length,
        begin=task.begin,
        end=task.end,
        pad=task.pad,
        task=task.name,
        convention=probed.convention,
        fingerprint=probed.fingerprint_of(sites),
        **sizes,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        decoder = own_decoder(config) if pretrained is None else _on_language_model(config, task, pretrained)
    if config.constrained:
        decoder.constrain(task)
    generator = torch.Generator().manual_seed(seed)
    of_sites = _some_activations(probed, task, sites, n=n_statistics, places=places, generator=generator)
    means = [values.mean(dim=0) for values in of_sites]
    scales = [(values - mean).pow(2).mean().sqrt() for values, mean in zip(of_sites, means, strict=True)]
    padded = [F.pad(mean, (0, config.d_activation - len(mean))) for mean in means]
    decoder.set_normalisation(torch.stack(padded), torch.stack(scales).clamp(min=1e-8))
    return decoder


def _some_activations(
    probed: ProbedModel, task: Task, sites: Sequence[Site], *, n: int, places: Places | None, generator: torch.Generator
) -> list[Float[Tensor, "sample _"]]:
    """Training activations of each site, by which it is normalised."""
    numbers = sum(probed.width(site) for site in sites)
    if places is None:  # all sites of the same inputs, which is one forward
        n = min(n, max(FEWEST_STATISTICS, MOST_STATISTICS // numbers))
        tokens = task.sample(n, generator=generator, split="train")
        positions = draw_positions(task, tokens, generator)
        together = max(1, STATISTICS_TOGETHER // numbers)
        captured = []
        with stage("measuring activations", n):
            for rows, at in zip(torch.split(tokens, together), torch.split(positions, together), strict=True):
                captured.append(probed.capture(rows, sites, at))
                advance(len(rows))
        return [torch.cat([part[site].float().cpu() for part in captured]) for site in sites]
    n = max(FEWEST_STATISTICS, n // len(sites))
    tokens, positions, _ = places.at(sites, n, generator, "train")
    of_sites = []
    with stage("measuring activations", len(sites)):
        for site, rows, at in zip(sites, torch.split(tokens, n), torch.split(positions, n), strict=True):
            of_sites.append(probed.capture(rows, [site], at)[site].float().cpu())
            advance(1)
    return of_sites


def _on_language_model(config: DecoderConfig, task: Task, pretrained: Pretrained) -> Decoder:
    model, tokenizer = load_backbone(pretrained.source)
    of_task = getattr(task, "tokenizer", None)
    if tokenizer is None or (of_task is not None and of_task.get_vocab() == tokenizer.get_vocab()):
        return pretrained_decoder(config, pretrained.source, model, pretrained.lora_rank)
    if of_task is None:
        raise UserError(
            f"the language model {pretrained.source} has a tokenizer, and inputs of task {task.name} are no text: "
            f"give one without"
        )
    if config.constrained:
        raise UserError("a decoder with another tokenizer cannot be constrained to the task's tokens")
    own, theirs = Vocabulary(tokenizer), Vocabulary(of_task)
    samples = task.sample(LENGTH_SAMPLES, generator=torch.Generator().manual_seed(0), split="train")
    longest = max(len(ids) for ids in own.all_ids([theirs.text(theirs.inner(row)) for row in samples]))
    adapter = Retokenised(theirs, own, task.max_length, int(SPARE * longest) + 2)
    config = replace(config, begin=own.begin, end=own.end, pad=own.pad)
    config = replace(config, vocab_size=own.size, max_length=adapter.own_length)
    return pretrained_decoder(config, pretrained.source, model, pretrained.lora_rank, adapter=adapter)
