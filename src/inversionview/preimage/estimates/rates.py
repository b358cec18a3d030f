"""The in-ε rate: how often a decoder's sample is a member of the preimage that it was asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Generator, Tensor

from inversionview.criterion import Criterion, Metric
from inversionview.decoder.model import Decoder
from inversionview.decoder.places import Anywhere, Places
from inversionview.decoder.sampling import sample
from inversionview.errors import UserError
from inversionview.preimage.rounding import Beginnings
from inversionview.preimage.verification import at_role, best, distances_at_sites, eligible_distances, within
from inversionview.probed.model import ProbedModel
from inversionview.progress import advance, stage
from inversionview.shapes import Tokens
from inversionview.tasks.base import Split, Task
from inversionview.tasks.positions import role_positions


class Hits(NamedTuple):
    """Which candidates, one a query, are members of the query's preimage. A malformed or wrong one is a miss."""

    any: Bool[np.ndarray, "site query"]
    """Under rule `any`."""
    same: Bool[np.ndarray, "site query"]
    """Under rule `same`; a candidate that lacks the query's role is a miss."""
    in_domain: Bool[np.ndarray, "site query"]
    """Whether the candidate is in the domain, whatever the rule."""


class InEpsilon(NamedTuple):
    """What samples of a decoder reach, and what random inputs of the domain reach on the same queries."""

    samples: Hits
    floor: Hits | None
    positions: Int[np.ndarray, "site query"]
    """Where each query was asked."""


class Share(NamedTuple):
    """A share of queries and its standard error."""

    rate: float
    se: float


def share(hits: Bool[np.ndarray, " query"]) -> Share:
    """The share of hits of one site, with `sqrt(r (1 - r) / n)`."""
    rate = float(hits.mean())
    return Share(rate, float(np.sqrt(rate * (1 - rate) / len(hits))))


def mean_share(hits: Bool[np.ndarray, "site query"]) -> Share:
    """The mean over sites, with the standard error of a mean over queries, which sites may share.

    Where they do, what is hit at one is often hit at another; where not, it is that of a mean of independent shares.
    """
    by_query = hits.mean(axis=0)
    return Share(float(by_query.mean()), float(by_query.std() / np.sqrt(len(by_query))))


@torch.no_grad()
def in_epsilon(
    decoder: Decoder,
    probed: ProbedModel,
    task: Task,
    n: int,
    *,
    criterion: Criterion,
    generator: Generator,
    floor: bool = True,
    sites: Sequence[str] | None = None,
    split: Split = "held-out",
    places: Places | None = None,
) -> InEpsilon:
    """One sample at temperature 1 for each of `n` held-out inputs a site, position uniform over the eligible ones.

    Sites share the inputs and their positions, of which one forward gives all; with other `places`, each site has its
    own, where these say. They share the floor's inputs.
    `floor` does the same with inputs from the prior in place of samples. `sites` are by default all of the decoder's;
    `split` is for what steers the training, which must not see held-out inputs. Both position rules are measured.
    The decoder may be in the middle of its training; `generator` is on the CPU.
    Raises `UserError` for n < 1 or a query activation of norm 0.
    """
    if n < 1:
        raise UserError(f"n must be at least 1, not {n}")
    known_sites = decoder.config.sites
    names = tuple(known_sites if sites is None else sites)
    sites_read = [probed.site(name) for name in names]
    if places is None or type(places) is Anywhere:
        some, at, _ = Anywhere(task).at(sites_read[:1], n, generator, split)
        tokens, positions = some.repeat(len(names), 1), at.repeat(len(names))
    else:
        tokens, positions, _ = places.at(sites_read, n, generator, split)
    index = torch.tensor([known_sites.index(name) for name in names]).repeat_interleave(n)
    with stage("drawing samples of the decoder", 2 * len(tokens)):
        activations = _own_site(probed, tokens, positions, names)
        samples = _one_each(decoder, activations, index, generator)
    limits = torch.tensor(criterion.limits(names)).double()
    roles = task.roles_at(tokens, positions)

    def hits(candidates: Tokens) -> Hits:
        return _hits(
            probed, task, names, candidates, activations=activations, roles=roles, limits=limits,
            metric=criterion.metric, of=Beginnings(tokens, positions),
        )  # fmt: skip

    random = task.sample(n, generator=generator).repeat(len(names), 1) if floor else None
    where = positions.view(len(names), n).numpy()
    with stage("running samples through the model", len(tokens) * (1 + floor)):
        return InEpsilon(hits(samples), None if random is None else hits(random), where)


def _own_site(
    probed: ProbedModel, tokens: Tokens, positions: Int[Tensor, " query"], names: Sequence[str]
) -> Float[Tensor, "query width"]:
    """The activation of each query at its own site, the first n being of the first site, and so on."""
    n, sites = len(tokens) // len(names), [probed.site(name) for name in names]
    if _shared(tokens, n) and _shared(positions, n):
        read = probed.capture(tokens[:n], sites, positions[:n])
        captured = [read[site].float().cpu() for site in sites]
        advance(len(tokens))
    else:
        captured = []
        for site, rows, at in zip(sites, torch.split(tokens, n), torch.split(positions, n), strict=True):
            captured.append(probed.capture(rows, [site], at)[site].float().cpu())
            advance(len(rows))
    widest = max(values.shape[1] for values in captured)
    return torch.cat([F.pad(values, (0, widest - values.shape[1])) for values in captured])


def _shared(rows: Tensor, n: int) -> bool:
    """Whether every n of them are the first n again."""
    return bool((rows.view(-1, n, *rows.shape[1:]) == rows[:n]).all())


def _one_each(
    decoder: Decoder, activations: Float[Tensor, "query width"], index: Int[Tensor, " query"], generator: Generator
) -> Tokens:
    device = next(decoder.parameters()).device
    return sample(decoder, activations.to(device), index.to(device), 1, generator=generator).tokens[:, 0].cpu()


def _hits(
    probed: ProbedModel,
    task: Task,
    names: Sequence[str],
    candidates: Tokens,
    *,
    activations: Float[Tensor, "query width"],
    roles: Sequence[str],
    limits: Float[Tensor, " site"],
    metric: Metric,
    of: Beginnings,
) -> Hits:
    n = len(candidates) // len(names)
    parts = (torch.split(part, n) for part in (candidates, activations, *of))
    if _shared(candidates, n):
        z_q = dict(zip(names, torch.split(activations, n), strict=True))
        owns = zip(names, torch.split(of.tokens, n), torch.split(of.positions, n), strict=True)
        own = {name: Beginnings(tokens, positions) for name, tokens, positions in owns}
        by_site = distances_at_sites(probed, task, candidates[:n], z_q, metric=metric, of=own)
        everywhere = torch.cat([by_site[name] for name in names])
        advance(len(candidates) - n)
    else:
        everywhere = torch.cat(
            [
                eligible_distances(probed, task, rows, name, z, metric=metric, of=Beginnings(*own))
                for name, rows, z, *own in zip(names, *parts, strict=True)
            ]
        )
    in_domain = task.contains(candidates)
    same = at_role(everywhere, role_positions(task, candidates, roles))
    epsilon = limits.repeat_interleave(n)
    masks = (within(best(everywhere), in_domain, epsilon), within(same, in_domain, epsilon), in_domain)
    return Hits(*(mask.view(len(names), n).numpy() for mask in masks))
