"""Proposals by a random walk that stays inside the preimage: token edits, and jumps to what the decoder proposes.

Metropolis-Hastings: whatever the start, the walk comes to visit each member in proportion to its prior, as long as its
moves connect the preimage. Edits alone often do not: then each part keeps the share of the chains that started there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Generator, Tensor

from inversionview.criterion import Criterion
from inversionview.decoder.model import Decoder
from inversionview.errors import UserError
from inversionview.preimage.rounding import Beginnings
from inversionview.preimage.sources.proposals import DecoderSource, Draws
from inversionview.preimage.verification import at_role, best, eligible_distances, rows_by_site, within
from inversionview.probed.model import ProbedModel
from inversionview.results.preimage import Query
from inversionview.shapes import InputMask, PerInput, Tokens
from inversionview.tasks.base import Editable, Task
from inversionview.tasks.positions import role_positions

_BLOCK = 4096
"""Inputs whose log-probability the decoder computes at once."""

ChainTokens = Int[Tensor, "query chain pos"]


class _Targets(NamedTuple):
    """What the chains of one call walk around, with one random stream a query."""

    activations: Float[Tensor, "query width"]
    queries: Sequence[Query]
    generators: Sequence[Generator]


class _Proposals(NamedTuple):
    """One proposed move of each chain."""

    tokens: ChainTokens
    by_decoder: Bool[Tensor, "query chain"]
    log_q: Float[Tensor, "query chain"]
    """log q of those that the decoder proposed."""


@dataclass(eq=False, kw_only=True)
class EditSource:
    """Metropolis-Hastings over token edits; its draws are members, in the long run each in proportion to its prior.

    A call makes `n` moves a query, shared by `chains` that all walk side by side, and draws the state after each. A
    move counts only if the probed model, run on it, puts it within `epsilon`. Draws follow each other closely, so
    their density is not known; the first ones are near the start.
    Raises `UserError` for settings that cannot be, or a task without `edit` where there is no decoder either.
    """

    probed: ProbedModel
    task: Task
    n: int
    """Proposed moves a query, each at most one forward of the probed model."""
    criterion: Criterion
    """With one ε for all queries."""
    decoder: Decoder | None = None
    """Proposes jumps to anywhere in the preimage; without one, edits are all there is."""
    decoder_share: float = 0.25
    """Share of the moves that are the decoder's; all of them where the task has no edits."""
    chains: int = 64
    starts: Mapping[Query, Tokens] | None = None
    """Where chains start: members [row, pos] of a query's preimage, in turn; without them, at the query's own input."""
    name: str = "edits"
    forwards: int = field(default=0, init=False)
    """Inputs run through the probed model so far, those that the chains start from included."""

    def __post_init__(self) -> None:
        if self.criterion.constant is None:
            raise UserError("edits walk inside one epsilon: read queries whose epsilons differ one at a time")
        for what, number in (("n", self.n), ("chains", self.chains)):
            if number < 1:
                raise UserError(f"{what} must be at least 1, not {number}")
        if not 0 < self.decoder_share < 1:
            raise UserError(f"the decoder's share must be between 0 and 1, such as 0.25, not {self.decoder_share:g}")
        if self.decoder is None and not isinstance(self.task, Editable):
            raise UserError(
                f"task {self.task.name} has no edits: give a decoder, whose proposals can stand in for them"
            )

    @property
    def _epsilon(self) -> float:
        assert self.criterion.constant is not None
        return self.criterion.constant

    @property
    def density(self) -> None:
        """Not known: a draw depends on the one before it."""

    @torch.no_grad()
    def propose(
        self, activations: Float[Tensor, "query width"], queries: Sequence[Query], generators: Sequence[Generator]
    ) -> Draws:
        """Draw `n` members for every query. Raises `UserError` for a query none of whose starts is a member."""
        targets = _Targets(activations, queries, generators)
        if not queries:
            return Draws(torch.empty(0, self.n, self.task.max_length, dtype=torch.long), torch.empty(0, self.n))
        states, jumps = self._start(targets), self._jumps(targets)
        drawn: list[ChainTokens] = []
        for done in range(0, self.n, self.chains):
            states = self._step(targets, states[:, : self.n - done], jumps, done)
            drawn.append(states)
        return Draws(torch.cat(drawn, dim=1), torch.full((len(queries), self.n), torch.nan))

    def _start(self, targets: _Targets) -> ChainTokens:
        given = [self._given(query) for query in targets.queries]
        owner = torch.arange(len(given)).repeat_interleave(torch.tensor([len(rows) for rows in given]))
        rows = torch.cat(given)
        members = self._inside(targets, rows, owner)
        states = []
        for i, query in enumerate(targets.queries):
            there = rows[members & (owner == i)]
            if not len(there):
                raise UserError(
                    f"no chain can start for {query}: none of the "
                    f"{len(given[i])} inputs to start from is within ε = {self._epsilon:g}; give members in `starts`"
                )
            states.append(there[torch.arange(min(self.chains, self.n)) % len(there)])
        return torch.stack(states)

    def _given(self, query: Query) -> Tokens:
        if self.starts is None:
            query.needed_input("a walk of edits without members to start from")
        own = torch.tensor([query.tokens])
        rows = own if self.starts is None else self.starts.get(query, own)
        return torch.nn.functional.pad(rows, (0, self.task.max_length - rows.shape[1]), value=self.task.pad)

    def _share(self) -> float:
        if self.decoder is None:
            return 0
        return self.decoder_share if isinstance(self.task, Editable) else 1

    def _jumps(self, targets: _Targets) -> Draws:
        """All that the decoder proposes in a call, drawn together because it does not depend on the states."""
        number = int(self.n * self._share())
        if self.decoder is None or not number:
            shape = (len(targets.queries), 0)
            return Draws(torch.empty(*shape, self.task.max_length, dtype=torch.long), torch.empty(shape))
        return DecoderSource(self.decoder, number).propose(*targets)

    def _step(self, targets: _Targets, states: ChainTokens, jumps: Draws, done: int) -> ChainTokens:
        """One move of every chain; `done` moves a query were made before."""
        # How many chains jump is a function of the step, and which ones is chance: of neither the states nor of the
        # queries beside this one.
        first, last = (int(moves * self._share()) for moves in (done, done + states.shape[1]))
        here = Draws(jumps.tokens[:, first:last], jumps.log_prob[:, first:last])
        tokens, by_decoder, log_q = self._proposals(targets, states, here)
        uniform = torch.stack([torch.rand(states.shape[1], generator=generator) for generator in targets.generators])
        # What does not move needs no forward, and neither does what is outside the domain.
        tried = (tokens != states).any(dim=2) & self.task.contains(tokens.flatten(0, 1)).view(by_decoder.shape)
        owner = tried.nonzero()[:, 0]
        inside = tried.clone()
        inside[tried] = self._inside(targets, tokens[tried], owner)
        old, new = states[inside], tokens[inside]
        ratio = self.task.log_prior(new) - self.task.log_prior(old)
        jump, owner = by_decoder[inside], inside.nonzero()[:, 0]
        if jump.any():
            ratio[jump] += self._log_q(targets, old[jump], owner[jump]) - log_q[inside][jump]
        accepted = inside.clone()
        accepted[inside] = uniform[inside].log() < ratio
        return torch.where(accepted[:, :, None], tokens, states)

    def _proposals(self, targets: _Targets, states: ChainTokens, jumps: Draws) -> _Proposals:
        tokens, shape = states, states.shape[:2]
        if isinstance(self.task, Editable):
            pairs = zip(states, targets.generators, strict=True)
            tokens = torch.stack([self.task.edit(rows, generator) for rows, generator in pairs])
        if not jumps.tokens.shape[1]:
            return _Proposals(tokens, torch.zeros(shape, dtype=torch.bool), torch.zeros(shape))
        orders = torch.stack([torch.randperm(shape[1], generator=generator) for generator in targets.generators])
        which = orders[:, : jumps.tokens.shape[1]]
        return _Proposals(
            tokens.scatter(1, which[:, :, None].expand_as(jumps.tokens), jumps.tokens),
            torch.zeros(shape, dtype=torch.bool).scatter(1, which, True),
            torch.zeros(shape).scatter(1, which, jumps.log_prob),
        )

    def _log_q(self, targets: _Targets, tokens: Tokens, owner: Int[Tensor, " batch"]) -> PerInput:
        """What the decoder, given the activation of the query that owns it, gives each input, in fp32."""
        assert self.decoder is not None
        device, sites = next(self.decoder.parameters()).device, self.decoder.config.sites
        site = torch.tensor([sites.index(query.site) for query in targets.queries])
        log_q = [
            self.decoder.log_prob(rows.to(device), targets.activations[of].to(device), site[of].to(device)).cpu()
            for rows, of in zip(torch.split(tokens, _BLOCK), torch.split(owner, _BLOCK), strict=True)
        ]
        return torch.cat(log_q)

    def _inside(self, targets: _Targets, tokens: Tokens, owner: Int[Tensor, " batch"]) -> InputMask:
        """Which inputs the probed model puts within ε of the activation of the query that owns them."""
        members = torch.zeros(len(tokens), dtype=torch.bool)
        for site, queries in rows_by_site(targets.queries).items():
            rows = torch.isin(owner, queries).nonzero()[:, 0]
            here, of = tokens[rows], owner[rows]
            everywhere = eligible_distances(
                self.probed, self.task, here, site, targets.activations[of], metric=self.criterion.metric,
                of=Beginnings.of(targets.queries).take(of),
            )  # fmt: skip
            if self.criterion.position_rule == "same":
                roles = [targets.queries[i].role for i in of.tolist()]
                nearest = at_role(everywhere, role_positions(self.task, here, roles))
            else:
                nearest = best(everywhere)
            members[rows] = within(nearest, self.task.contains(here), self._epsilon)
        self.forwards += len(tokens)
        return members
