"""What a decoder is trained on: activations of the task's training inputs, many of each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple, Unpack

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from inversionview.bank.bank import Bank
from inversionview.bank.passes import read_vectors
from inversionview.decoder.backbone import SELF, load_backbone
from inversionview.decoder.groups import cut_by_length
from inversionview.decoder.loss import IGNORED
from inversionview.decoder.model import (
    AsRead,
    Decoder,
    DecoderConfig,
    DecoderSizes,
    NextClasses,
    RaggedRows,
    own_decoder,
)
from inversionview.decoder.places import ANYWHERE, Chosen, Places, make_places
from inversionview.decoder.pool import Pool, passes_for
from inversionview.decoder.pretrained import pretrained_decoder, self_decoder
from inversionview.decoder.tokens import OwnRows, Retokenised
from inversionview.errors import UserError
from inversionview.probed.coordinates import Coordinates
from inversionview.probed.model import ProbedModel
from inversionview.progress import advance, stage
from inversionview.seeds import seeded
from inversionview.shapes import Positions, Tokens
from inversionview.sites import Site
from inversionview.tasks import Task
from inversionview.tasks.positions import draw_positions, first_end
from inversionview.tasks.text.sampling import affordable
from inversionview.tasks.vocabulary import Vocabulary
from inversionview.training.budget import Ahead


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
    passes: int = 0
    """Instances taken from each input, on average; 0: so many that new inputs are a fifth of the work, 8 at least."""
    megabytes: int = 256
    """Memory of the inputs that instances are taken from, with what was read of them; the newest ones that fit."""
    begin_share: float = 0.01
    """Share of activations taken at the begin token: the uninformed activation, against which tokens are coloured."""
    full_share: float = 0.2
    """Share of instances trained to the end of the input; the others stop at the position their activation comes from,
    since what comes after cannot have shaped it."""
    full_steps: int = 300
    """Steps at the start in which every instance is trained to its end: how an input goes on, here the sum of its two
    numbers, is learned first, and late if from a few instances only."""
    groups: int = 4
    """Instances of a batch are sorted by length and cut to one length a group; so many groups at most."""
    reweight_every: int = 0
    """Steps between measurements of the in-ε rate, by which sites and positions are then drawn: those that lag behind
    more often, in proportion to 1 - rate. 0: all are drawn equally."""


class Batch(NamedTuple):
    """One rank's instances, sorted by length."""

    tokens: Tokens
    read: AsRead
    site_index: Positions
    lengths: Positions
    """Number of tokens, after begin, that count in the loss."""
    ragged: tuple[RaggedRows, ...]
    possible: NextClasses | None
    """Which classes can follow each token; None where all can."""


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
    folder: Path | None = None
    """Where inputs that were run are kept for a run that is resumed; without it, they are run again."""
    bank: Bank | None = None
    """What the first inputs are taken from; without it, new ones are run."""
    weights: Float[Tensor, "site pos"] = field(init=False)

    @property
    def after_step_period(self) -> int:
        """Steps between two times that `after_step` does its work."""
        return self.config.reweight_every or 1

    def steps_of_a_pass(self, size: int) -> int:
        """Steps of batches of `size` in which each input that the training begins with is taken once, on average."""
        return -(-self.pool.first * self.pool.part // size)

    def ahead(self, size: int) -> Ahead:
        """What new inputs have taken, and what they come to for a step of `size` instances."""
        return Ahead(self.pool.seconds, self.pool.seconds_of(size))

    @property
    def steady_after(self) -> int:
        """Steps after which all cost alike: those before are of whole inputs."""
        return self.config.full_steps

    def __post_init__(self) -> None:
        config, names = self.config, self.module.config.sites
        sites = tuple(self.probed.site(name) for name in names)
        places = make_places(self.read, self.probed, self.task, sites, begin_share=config.begin_share)
        passes = config.passes or passes_for(*self._operations(sites))
        self.pool = Pool(
            self.module, self.probed, self.task, places, passes, config.megabytes, config.seed, self.folder, self.bank
        )
        self.weights = torch.ones(len(names), self.task.max_length)
        self.seen = CellHits(torch.zeros_like(self.weights), torch.zeros_like(self.weights))

    def _operations(self, sites: Sequence[Site]) -> tuple[float, float]:
        """Of an input in the probed model, and of an instance in the decoder with its backward pass, by their weights.

        Of an instance, half of the tokens count, and the trunk runs once.
        """
        some = self.task.sample(LENGTH_SAMPLES, generator=torch.Generator().manual_seed(0), split="train")
        length = float(self.task.eligible(some).sum(dim=1).float().mean())
        layers = (1 + max(map(self.probed.layer_of, sites))) / self.probed.n_layers
        trunk = _weights(self.module.trunk)
        body = _weights(self.module) - trunk
        return 2 * length * layers * _weights(self.probed.model.base_model), 6 * (trunk + length / 2 * body)

    def batch(self, step: int, *, size: int, rank: int = 0, world: int = 1) -> Batch:
        """Make one rank's equal slice of the global batch of `step`."""
        generator = seeded(self.config.seed, step)
        chosen = self.pool.draw(step, size, self.weights, generator)
        share = 1.0 if step < self.config.full_steps else self.config.full_share
        whole = torch.rand(size, generator=generator) < share
        mine = slice(rank, None, world)
        chosen, whole = Chosen(*(part[mine] for part in chosen)), whole[mine]
        own = self.module.adapter.to_own(self.pool.tokens(chosen.rows))
        lengths = self._lengths(chosen, own, whole)
        order = lengths.argsort(stable=True)
        chosen, lengths, tokens = Chosen(*(part[order] for part in chosen)), lengths[order], own.tokens[order]
        groups = cut_by_length(lengths, self.config.groups)
        possible, device = self.pool.possible(chosen.rows), self.module.trunk.mean.device
        return Batch(
            tokens.to(device), self.pool.vectors(chosen).to(device), chosen.site_index.to(device), lengths.to(device),
            groups, None if possible is None else possible.to(device),
        )  # fmt: skip

    def _lengths(self, chosen: Chosen, own: OwnRows, whole: Bool[Tensor, " batch"]) -> Positions:
        """How many tokens of each instance, after begin, are trained: up to where it is read or to its end.

        Less what follows from the tokens before it, whose loss is zero.
        """
        full = first_end(self.pool.tokens(chosen.rows), self.task.end)
        lengths = torch.where(whole | (chosen.positions == 0), full, chosen.positions)
        lengths = self.module.adapter.cut(own, lengths)
        return torch.minimum(lengths, self.pool.undecided(chosen.rows)).clamp(min=1)

    def loss(self, module: nn.Module, batch: Batch) -> Tensor:
        """Mean over instances of the summed negative log-probability of the tokens that count, in nats."""
        targets, possible, start = [], [], 0
        for rows, length in batch.ragged:
            part = slice(start, start + rows)
            if batch.possible is not None:
                possible.append(batch.possible[part, :length].flatten(0, 1))
            target = batch.tokens[part, 1 : length + 1]
            beyond = torch.arange(length, device=target.device) >= batch.lengths[part, None]
            targets.append(target.masked_fill(beyond, IGNORED).reshape(-1))
            start += rows
        can_follow = torch.cat(possible) if possible else None
        total: Tensor = module(batch.tokens, batch.read, batch.site_index, batch.ragged, torch.cat(targets), can_follow)
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


def _weights(module: nn.Module) -> int:
    """Those that each token is multiplied by: of a language model all but its embeddings."""
    tables = sum(part.weight.numel() for part in module.modules() if isinstance(part, nn.Embedding))
    return sum(parameter.numel() for parameter in module.parameters()) - tables


STATISTICS, FEWEST_STATISTICS = 4096, 256
"""Activations of each site by which it is normalised: in a small model, and at least."""
MOST_STATISTICS = 2**27
"""Numbers in the activations of all sites by which they are normalised, at most."""
LENGTH_SAMPLES = 2000
"""Inputs that tell how long they are in the tokens of another tokenizer."""
SPARE = 1.25
"""Room for own tokens: so many times the longest of those inputs."""


@dataclass(frozen=True)
class Pretrained:
    """A language model that a decoder is made of, in place of layers of its own."""

    source: str
    """A folder, a name on the hub, or `self`: the probed model, whose weights are then in memory once with LoRA."""
    lora_rank: int = 0
    """Rank of the matrices that LoRA adds to it; 0: all of its weights are trained."""


def make_decoder(
    probed: ProbedModel,
    task: Task,
    sites: Sequence[Site],
    *,
    seed: int = 0,
    n_statistics: int | None = None,
    places: Places | None = None,
    pretrained: Pretrained | None = None,
    **sizes: Unpack[DecoderSizes],
) -> Decoder:
    """A new decoder for these sites, its normalisation measured on `n_statistics` training inputs at most.

    By default 4,096, of a large model from fewer inputs, at several positions of each, and of many sites fewer, so that
    their activations take no more than 512 MB. With `places`, on activations that these choose, at least 256 of each
    site. Initial weights depend on `seed` alone, and on the language model that it
    is made of, where there is one. Raises `UserError` for one that does not fit the task.
    """
    wanted = n_statistics or STATISTICS
    n = n_statistics or affordable(wanted, FEWEST_STATISTICS, probed)
    coordinates = Coordinates(probed)
    widths = tuple(map(coordinates.width, sites))
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
        coordinates=True,
        **sizes,
    )
    used = task.used_tokens
    # A language model knows words that no training text has, and its head is there: it keeps all of them.
    if used is not None and (pretrained is None or not task.other_tokens):
        others = task.other_tokens and len(used) < task.vocab_size
        config = replace(config, tokens=tuple(used.tolist()), others=others)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        decoder = own_decoder(config) if pretrained is None else _on_language_model(config, probed, task, pretrained)
    if config.constrained:
        decoder.constrain(task)
    decoder.reads(probed)
    generator = torch.Generator().manual_seed(seed)
    of_sites = _some_activations(probed, task, sites, wanted, n=n, places=places, generator=generator)
    means = [values.mean(dim=0) for values in of_sites]
    scales = [(values - mean).pow(2).mean().sqrt() for values, mean in zip(of_sites, means, strict=True)]
    padded = [F.pad(mean, (0, config.d_activation - len(mean))) for mean in means]
    decoder.set_normalisation(torch.stack(padded), torch.stack(scales).clamp(min=1e-8))
    for index, values in enumerate(of_sites):
        decoder.set_quantiles(index, values)
    return decoder


def _some_activations(
    probed: ProbedModel,
    task: Task,
    sites: Sequence[Site],
    wanted: int,
    *,
    n: int,
    places: Places | None,
    generator: torch.Generator,
) -> list[Float[Tensor, "sample _"]]:
    """Training activations of each site, by which it is normalised: so many as are wanted, of `n` inputs at most."""
    if places is not None:
        n = max(FEWEST_STATISTICS, n // len(sites))
        tokens, positions, _ = places.at(sites, n, generator, "train")
        of_sites = []
        with stage("measuring activations", len(sites)):
            for site, rows, at in zip(sites, torch.split(tokens, n), torch.split(positions, n), strict=True):
                of_sites.append(read_vectors(probed, rows, at[:, None], [site])[site][:, 0])
                advance(1)
        return of_sites
    # All sites of the same inputs, which is one forward.
    most = MOST_STATISTICS // sum(map(Coordinates(probed).width, sites))
    wanted = min(wanted, max(FEWEST_STATISTICS, most))
    n = min(n, wanted)
    tokens = task.sample(n, generator=generator, split="train")
    each = max(1, wanted // n)
    positions = torch.stack([draw_positions(task, tokens, generator) for _ in range(each)], dim=1)
    with stage("measuring activations", n):
        read = read_vectors(probed, tokens, positions, sites)
    return [read[site].flatten(0, 1) for site in sites]


def _on_language_model(config: DecoderConfig, probed: ProbedModel, task: Task, pretrained: Pretrained) -> Decoder:
    if pretrained.source == SELF:
        return self_decoder(config, probed, pretrained.lora_rank)
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
    config = replace(config, begin=own.begin, end=own.end, pad=own.pad, tokens=())
    config = replace(config, vocab_size=own.size, max_length=adapter.own_length)
    return pretrained_decoder(config, pretrained.source, model, pretrained.lora_rank, adapter=adapter)
