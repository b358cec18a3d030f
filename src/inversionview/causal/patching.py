"""Activations of one run put into another run, and what that does to the logit difference of the two runs' answers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import NamedTuple, cast, get_args

import torch
from jaxtyping import Float, Int
from torch import Tensor

from inversionview.causal.contrast import Pairs
from inversionview.causal.effects import Configuration, PatchEffects, PatchSite
from inversionview.errors import UserError
from inversionview.probed.batches import FEWEST_TOKENS
from inversionview.probed.model import Patch, ProbedModel
from inversionview.probed.rerun import CleanRun
from inversionview.progress import advance, stage
from inversionview.results.patching import Direction
from inversionview.shapes import Activations, Positions, Tokens

_BLOCK_VALUES = 2**26
"""Values that are held at once for the inputs that are run together."""
_BLOCK_INPUTS = 4096


@torch.no_grad()
def patch_effects(
    probed: ProbedModel,
    pairs: Pairs,
    configurations: Sequence[Configuration | Sequence[PatchSite]],
    *,
    direction: Direction | str = "contrast-into-clean",
) -> PatchEffects:
    """What each configuration of sites, patched together, does to logit(clean answer) − logit(contrast answer).

    The run that is patched is the clean one, or with `clean-into-contrast` the contrast one; the values come from the
    other run, which is run once, at its own positions. The difference is read where the patched run predicts its
    target. Pairs of which either input lacks a role that is patched are left out, and counted. Runs in blocks.
    Raises `UserError` for no configuration, sites that the model lacks or that one configuration names twice at one
    position, positions that the inputs do not have, and logits that are not numbers.
    """
    if direction not in get_args(Direction):
        raise UserError(f"there is no direction {direction!r}: use {' or '.join(get_args(Direction))}")
    wanted = [one if isinstance(one, Configuration) else Configuration(tuple(one), "") for one in configurations]
    sites = tuple(dict.fromkeys(site for configuration in wanted for site in configuration.sites))
    if not sites:
        raise UserError("name at least one site to patch, such as a0.0@=")
    for site in sites:
        probed.site(site.site)
    into_clean = direction == "contrast-into-clean"
    run, left_out = _runs(pairs, sites, into_clean=into_clean)
    for configuration in wanted:
        _check_distinct(configuration, sites, run.places)
    sets = list(dict.fromkeys(frozenset(configuration.sites) for configuration in wanted))
    differences = torch.empty(2 + len(sets), len(run.tokens), dtype=torch.float64)
    with stage("patch", len(run.tokens) * len(sets)):
        for rows in _blocks(probed, run):
            differences[:, rows] = _differences(probed, run.take(rows), sites, sets)
    _check_numbers(differences)
    return PatchEffects(
        direction=cast(Direction, direction),
        configurations=tuple(wanted),
        clean=differences[0 if into_clean else 1].numpy(),
        contrast=differences[1 if into_clean else 0].numpy(),
        patched=differences[[2 + sets.index(frozenset(configuration.sites)) for configuration in wanted]].numpy(),
        left_out=left_out,
    )


class _Runs(NamedTuple):
    """The run that is patched, and the one that the values come from."""

    tokens: Tokens
    source: Tokens
    target: Positions
    source_target: Positions
    places: Int[Tensor, "batch site"]
    source_places: Int[Tensor, "batch site"]
    answers: Int[Tensor, "batch 2"]
    """The clean and the contrast answer."""

    def take(self, rows: Positions) -> _Runs:
        return _Runs(*(part[rows] for part in self))


def _runs(pairs: Pairs, sites: Sequence[PatchSite], *, into_clean: bool) -> tuple[_Runs, Mapping[str, int]]:
    """The pairs that have every position, as runs, and how many were left out."""
    places = {at: pairs.places(at) for at in dict.fromkeys(site.at for site in sites)}
    has = torch.ones(len(pairs), dtype=torch.bool)
    for at, both in places.items():
        here = (both.clean >= 0) & (both.contrast >= 0)
        if not here.any():
            raise UserError(f"no pair of the {len(pairs):,} has a position {at!r} in both of its inputs")
        has &= here
    if not has.any():
        raise UserError(
            f"no pair of the {len(pairs):,} has all the positions {', '.join(places)} in both of its inputs"
        )
    clean, contrast = (torch.stack([places[site.at][i] for site in sites], dim=1)[has] for i in range(2))
    kept = pairs.where(has, "position")
    answers = torch.stack([kept.answer, kept.contrast_answer], dim=1)
    ours = kept.clean, kept.contrast, kept.clean_target, kept.contrast_target, clean, contrast
    if not into_clean:
        ours = kept.contrast, kept.clean, kept.contrast_target, kept.clean_target, contrast, clean
    return _Runs(*ours, answers=answers), kept.left_out


def _blocks(probed: ProbedModel, run: _Runs) -> Iterator[Positions]:
    """Rows that are run together: those that are first patched at one position, so that nothing before it is rerun."""
    length, sites = run.tokens.shape[1], run.places.shape[1]
    first = torch.minimum(run.places.min(dim=1).values, run.target - 1)
    order = (first * length + run.target).argsort(stable=True)
    kept = length * probed.d_model * (3 * probed.n_layers + 4) + sites * probed.d_model
    block = max(1, min(_BLOCK_INPUTS, _BLOCK_VALUES // kept))
    for rows in torch.split(order, torch.unique_consecutive(first[order], return_counts=True)[1].tolist()):
        yield from torch.split(rows, block)


def _differences(
    probed: ProbedModel, run: _Runs, sites: Sequence[PatchSite], sets: Sequence[AbstractSet[PatchSite]]
) -> Float[Tensor, "run batch"]:
    """Logit differences of the run that is patched, of the other, and of the first patched with each set of sites."""
    read = run.target - 1
    end = 1 + max(int(read.max()), int(run.places.max()))  # what comes after is not run
    clean = probed.clean_run(run.tokens[:, :end], min(int(read.min()), int(run.places.min())))
    values = _values(probed, run, sites)
    source = run.source[:, : int(run.source_target.max())]
    differences = torch.empty(2 + len(sets), len(read), dtype=torch.float64)
    differences[0] = _difference(probed.rerun(clean, positions=read, of=run.answers))
    differences[1] = _difference(probed.logits(source, positions=run.source_target - 1, of=run.answers))
    for some in _stacks(probed, clean, sets):
        n, rows = len(some), torch.arange(len(read)).repeat(len(some))
        patches = []
        for i, site in enumerate(sites):
            where = [k for k, one in enumerate(some) if site in sets[one]]
            if where:
                here = (torch.tensor(where)[:, None] * len(read) + torch.arange(len(read))).flatten()
                value = values[i].repeat(len(where), 1)
                patches.append(Patch(site.site, run.places[:, i].repeat(len(where)), value, here))
        logits = probed.rerun(clean, patches, rows=rows, positions=read.repeat(n), of=run.answers.repeat(n, 1))
        differences[2 + torch.tensor(some)] = _difference(logits).view(n, -1)
        advance(len(rows))
    return differences


def _difference(logits: Float[Tensor, "batch 2"]) -> Float[Tensor, " batch"]:
    both = logits.cpu().double()
    return both[:, 0] - both[:, 1]


def _stacks(probed: ProbedModel, clean: CleanRun, sets: Sequence[AbstractSet[PatchSite]]) -> Iterator[list[int]]:
    """Sets of sites that go through the model side by side, each in a copy of the inputs.

    Those that begin in one layer, as far as memory bears it; and later ones too while there are so few tokens that
    reading the layers' weights takes longer than multiplying by them.
    """
    inputs, length = clean.tokens.shape
    first = [min(probed.layer_of(site.site) for site in one) for one in sets]
    kept = length * probed.d_model * 2 * probed.n_layers + (length - clean.start) * 16 * probed.d_model
    most, fewest = max(1, _BLOCK_VALUES // (inputs * kept)), FEWEST_TOKENS // (inputs * (length - clean.start))
    stack: list[int] = []
    for i in sorted(range(len(sets)), key=first.__getitem__):
        if stack and (len(stack) >= most or (first[i] > first[stack[0]] and len(stack) >= fewest)):
            yield stack
            stack = []
        stack.append(i)
    yield stack


def _values(probed: ProbedModel, run: _Runs, sites: Sequence[PatchSite]) -> list[Activations]:
    """What the other run has at each site, in one forward."""
    ats = list(dict.fromkeys(site.at for site in sites))
    places = torch.stack([run.source_places[:, [site.at for site in sites].index(at)] for at in ats], dim=1)
    tokens = run.source[:, : 1 + int(places.max())]
    activations = probed.capture(tokens, list(dict.fromkeys(site.site for site in sites)), places)
    return [activations[probed.site(site.site)][:, ats.index(site.at)] for site in sites]


def _check_distinct(
    configuration: Configuration, sites: Sequence[PatchSite], places: Int[Tensor, "batch site"]
) -> None:
    """Raise `UserError` where one site would be patched twice at one position, by whatever names."""
    seen: list[PatchSite] = []
    for site in configuration.sites:
        for other in seen:
            if site.site == other.site:
                same = int((places[:, sites.index(site)] == places[:, sites.index(other)]).sum())
                if same:
                    raise UserError(
                        f"the order names {site.site} twice, at {other.at} and at {site.at}, which are one position in "
                        f"{same:,} of {len(places):,} inputs: name each site once"
                    )
        seen.append(site)


def _check_numbers(differences: Float[Tensor, "run batch"]) -> None:
    broken = int((~differences.isfinite()).any(dim=0).sum())
    if broken:
        raise UserError(
            f"the model's logits are not numbers for {broken:,} of {differences.shape[1]:,} pairs: its weights are "
            "damaged, or its values overflow their type"
        )
