"""The map of a model whose inputs cannot be enumerated: what every site knows, from draws that stand for the domain.

All queries share one sample of the prior. Where the task can draw given what inputs share with another, each query gets
more draws: given what they share with it, and around inputs that a first, smaller run found to be members. A draw x
then counts p(x) over the density of all draws together (the balance heuristic), whoever drew it:
1 / (N + Σ_k n_k [x shares c_k with y_k] / mass_k), since a condition's density is the prior's over its mass. Given the
first run, whose draws count for nothing, the estimates of masses have no bias: what no condition holds is seen by draws
from the prior.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Generator, Tensor

from inversionview.bank.passes import pass_over, read_vectors
from inversionview.criterion import Metric
from inversionview.preimage.distance import distances, within_distance
from inversionview.probed.model import ProbedModel
from inversionview.progress import advance, stage
from inversionview.reading.feature_map import MapCell, query_positions
from inversionview.reading.information import chosen_features, codes_of, feature_masses
from inversionview.reading.knowledge import Asked, Pairs, Sizes, cell_of
from inversionview.shapes import OneInput, Tokens
from inversionview.sites import Site
from inversionview.tasks.base import Conditional, Task
from inversionview.tasks.positions import eligible_role

DRAWS = 200_000
"""Draws from the prior, shared by all queries."""
DRAWS_GIVEN = 1000
"""Draws of each query given each condition of the task."""
_FIRST_SHARE = 0.25
"""Of these draws, those of the first run, which only finds members to draw around."""
_CENTRES = 64
_DRAWS_AROUND = 32
_BLOCK = 2048
_CHUNK = 32_768
"""Draws that are sorted by their length, so that those run together need little padding."""


@torch.no_grad()
def sampled_map(
    probed: ProbedModel,
    task: Task,
    sites: Sequence[str],
    queries: Mapping[str, Tokens],
    *,
    epsilon: Mapping[tuple[str, str], float],
    metric: Metric = "euclidean",
    draws: int = DRAWS,
    draws_given: int = DRAWS_GIVEN,
    generator: Generator,
) -> list[MapCell]:
    """What each site knows at each role about every feature, for `queries[role]` `[query, pos]`; rule `same`.

    As `feature_map`, with standard errors and effective numbers of members. Entropies get the correction of Miller and
    Madow (1955). Raises `UserError` for a query that lacks its role, or an activation of norm 0.
    """
    search = _Search(probed, task, sites, queries, epsilon=epsilon, metric=metric)
    plan = _Plan.of(task, search.inputs, draws, draws_given)
    if plan.parts and _CENTRES:
        few = _Plan.of(task, search.inputs, max(1, int(draws * _FIRST_SHARE)), max(1, int(draws_given * _FIRST_SHARE)))
        with stage("look around", few.total):
            first = search.run(few, generator)
        plan = plan.around([_centres(task, few, i, members) for i, members in enumerate(first.members)])
    with stage("map", plan.total):
        drawn = search.run(plan, generator)
    weights = [plan.weights(i, members.tokens) for i, members in enumerate(drawn.members)]
    return [search.cell(drawn, weights, k, draws) for k in range(len(search.cells))]


class _Part(NamedTuple):
    """Draws from the prior given what they share with an input."""

    condition: str
    input: OneInput
    n: int


class _Members(NamedTuple):
    """What was drawn for one input and lies in one of its preimages."""

    tokens: Tokens
    inside: Bool[Tensor, "cell batch"]


class _Drawn(NamedTuple):
    members: list[_Members]
    base: dict[str, list[Float[np.ndarray, " value"]]]
    """How many draws from the prior have each value of each feature, by role."""


class _Plan(NamedTuple):
    """What is drawn: from the prior for all inputs, and by each input's own parts."""

    task: Task
    draws: int
    parts: list[list[_Part]]
    """By input; empty where the task has no conditions."""

    @classmethod
    def of(cls, task: Task, inputs: Tokens, draws: int, draws_given: int) -> _Plan:
        if not (isinstance(task, Conditional) and draws_given):
            return cls(task, draws, [])
        return cls(task, draws, [[_Part(name, row, draws_given) for name in task.conditions] for row in inputs])

    @property
    def total(self) -> int:
        """All draws."""
        return self.draws + sum(part.n for parts in self.parts for part in parts)

    def around(self, centres: Sequence[Tensor]) -> _Plan:
        """The same with draws around these inputs too."""
        assert isinstance(self.task, Conditional)
        near = self.task.neighbourhood
        more = [[_Part(near, row, _DRAWS_AROUND) for row in rows] for rows in centres]
        return self._replace(parts=[[*own, *others] for own, others in zip(self.parts, more, strict=True)])

    def blocks(self, generator: Generator) -> Iterator[tuple[int | None, Tokens]]:
        """All draws: those of the prior, for all inputs (None), then those of one input alone, by its index."""
        left = self.draws
        while left:
            chunk = self.task.sample(min(left, _CHUNK), generator=generator)
            left -= len(chunk)
            length = self.task.eligible(chunk).sum(dim=1)
            for tokens in torch.split(chunk[length.argsort(stable=True)], _BLOCK):
                yield None, tokens
        for i, parts in enumerate(self.parts):
            assert isinstance(self.task, Conditional)
            drawn = [self.task.sample_given(name, row, n, generator=generator) for name, row, n in parts]
            for tokens in torch.split(torch.cat(drawn), _BLOCK):
                yield i, tokens

    def weights(self, index: int, tokens: Tokens) -> Float[np.ndarray, " batch"]:
        """What each draw counts for one of the inputs, in units of a draw from the prior alone."""
        density = torch.ones(len(tokens), dtype=torch.float64)
        for name, row, n in self.parts[index] if self.parts else []:
            assert isinstance(self.task, Conditional)
            more = n / self.draws * np.exp(-self.task.log_mass(name, row))
            density += more * self.task.agrees(name, row, tokens)
        return np.asarray((1 / density).numpy())


def _centres(task: Task, plan: _Plan, index: int, members: _Members) -> Tokens:
    """Members that carry much of the weight of some cell, none of them near another: the heaviest first."""
    assert isinstance(task, Conditional)
    weights = torch.from_numpy(plan.weights(index, members.tokens))
    shares = weights * members.inside
    shares = (shares / shares.sum(dim=1, keepdim=True).clamp(min=1e-300)).amax(dim=0)
    chosen: list[Tokens] = []
    left = torch.ones(len(shares), dtype=torch.bool)
    while left.any() and len(chosen) < _CENTRES:
        row = members.tokens[int((shares * left).argmax())]
        left &= ~task.agrees(task.neighbourhood, row, members.tokens)
        chosen.append(row)
    return torch.stack(chosen) if chosen else members.tokens[:0]


class _Search:
    """Which draws lie in which preimage: a cell is a site and a role, an input may be a query of many."""

    def __init__(
        self,
        probed: ProbedModel,
        task: Task,
        sites: Sequence[str],
        queries: Mapping[str, Tokens],
        *,
        epsilon: Mapping[tuple[str, str], float],
        metric: Metric,
    ) -> None:
        self.probed, self.task, self.epsilon, self.metric = probed, task, epsilon, metric
        self._kept: dict[tuple[str, int], tuple[np.ndarray, np.ndarray]] = {}
        self.features, self.sites = chosen_features(task), [probed.site(site) for site in sites]
        self.cells = [(site, role) for site in self.sites for role in queries if (str(site), role) in epsilon]
        self.inputs, which = torch.unique(torch.cat([*queries.values()]), dim=0, return_inverse=True)
        sizes = [len(tokens) for tokens in queries.values()]
        self.of_role: dict[str, Int[Tensor, " query"]] = dict(zip(queries, torch.split(which, sizes), strict=True))
        """Which of the inputs each query of a role is."""
        self.z_q = {role: self._query_vectors(role, rows) for role, rows in queries.items()}

    def _query_vectors(self, role: str, tokens: Tokens) -> dict[Site, Float[Tensor, "query coord"]]:
        places = query_positions(self.task, role, tokens)[:, None]
        z_q = {site: z[:, 0] for site, z in read_vectors(self.probed, tokens, places, self.sites).items()}
        for z in z_q.values():
            distances(z, z, self.metric)  # an activation without a direction is known before the pass begins
        return z_q

    def run(self, plan: _Plan, generator: Generator) -> _Drawn:
        """Draw, and keep what is inside."""
        kept: list[list[_Members]] = [[] for _ in self.inputs]
        width = [len(feature.values) for feature in self.features]
        base = {role: [np.zeros(n) for n in width] for role in self.of_role}
        for owner, tokens in plan.blocks(generator):
            inside = self._inside(tokens, owner)
            for i in range(len(self.inputs)) if owner is None else (owner,):
                rows = inside[:, i].any(dim=0).nonzero()[:, 0]
                kept[i].append(_Members(tokens[rows], inside[:, i, rows]))
            for role in self.of_role if owner is None else ():
                positions = eligible_role(self.task, tokens, role)
                rows = (positions >= 0).nonzero()[:, 0]
                masses = feature_masses(self.features, tokens[rows], positions[rows], np.ones(len(rows)))
                for total, mass in zip(base[role], masses, strict=True):
                    total += mass
        members = [
            _Members(torch.cat([m.tokens for m in own]), torch.cat([m.inside for m in own], dim=1)) for own in kept
        ]
        return _Drawn(members, base)

    def _inside(self, tokens: Tokens, owner: int | None) -> Bool[Tensor, "cell input batch"]:
        inside = torch.zeros(len(self.cells), len(self.inputs), len(tokens), dtype=torch.bool)
        asked = {
            role: (which >= 0 if owner is None else which == owner).nonzero()[:, 0]
            for role, which in self.of_role.items()
        }
        left = len(tokens)
        for block in pass_over(
            self.probed, self.task, tokens, self.sites, [role for role in asked if len(asked[role])]
        ):
            left -= len(block.rows)
            there = {role: (positions >= 0).nonzero()[:, 0] for role, positions in block.positions.items()}
            for k, (site, role) in enumerate(self.cells):
                if len(asked[role]) and len(there[role]):
                    z, z_q = block.vectors[site, role][there[role]], self.z_q[role][site][asked[role]]
                    near = within_distance(z_q, z, self.epsilon[str(site), role], self.metric)
                    inside[k, self.of_role[role][asked[role]][:, None], block.rows[there[role]]] = near
        advance(left)  # those without a role, which are not run
        return inside

    def _read(self, role: str, i: int, tokens: Tokens) -> tuple[np.ndarray, np.ndarray]:
        """Of what was drawn for an input: values of the features `[feature, batch]`, and which input each is."""
        if (role, i) not in self._kept:
            positions = eligible_role(self.task, tokens, role)
            rows = (positions >= 0).nonzero()[:, 0]
            codes = np.zeros((len(self.features), len(tokens)), dtype=np.int64)
            codes[:, rows.numpy()] = codes_of(self.features, tokens[rows], positions[rows])
            inputs = np.unique(tokens.numpy(), axis=0, return_inverse=True)[1].reshape(-1)
            inputs[(tokens == self.inputs[i]).all(dim=1).numpy()] = -1
            self._kept[role, i] = codes, inputs
        return self._kept[role, i]

    def cell(self, drawn: _Drawn, weights: Sequence[np.ndarray], k: int, draws: int) -> MapCell:
        """What one cell knows."""
        site, role = self.cells[k]
        base = drawn.base[role]
        pairs = self._pairs(drawn, weights, k)
        mass, square = (
            np.bincount(pairs.query, values, len(self.of_role[role])) for values in (pairs.weights, pairs.weights**2)
        )
        with np.errstate(divide="ignore", invalid="ignore"):
            sizes = Sizes(np.log2(base[0].sum() / mass), np.sqrt(square) / mass / np.log(2))
        return cell_of((str(site), role), self.features, base, self._asked(role, base), pairs, sizes=sizes)

    def _asked(self, role: str, base: Sequence[np.ndarray]) -> Asked:
        which = self.of_role[role]
        tokens = self.inputs[which]
        own = codes_of(self.features, tokens, eligible_role(self.task, tokens, role))
        priors = [
            np.maximum(masses, 0.5)[codes] / max(masses.sum(), 0.5) for masses, codes in zip(base, own, strict=True)
        ]
        return Asked(np.full(len(which), -1), own, np.stack(priors))

    def _pairs(self, drawn: _Drawn, weights: Sequence[np.ndarray], k: int) -> Pairs:
        """The members of a cell; an input that is the query is number -1, the others are numbered for each query."""
        role = self.cells[k][1]
        each = []
        for query, i in enumerate(self.of_role[role].tolist()):
            members = drawn.members[i]
            rows = np.flatnonzero(members.inside[k].numpy())
            codes, inputs = self._read(role, i, members.tokens)
            each.append(Pairs(np.full(len(rows), query), inputs[rows], codes[:, rows], weights[i][rows]))
        query, inputs, codes, weight = zip(*each, strict=True)
        return Pairs(np.concatenate(query), np.concatenate(inputs), np.concatenate(codes, 1), np.concatenate(weight))
