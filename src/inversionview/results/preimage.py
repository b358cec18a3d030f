"""What was asked (`Query`) and what was found (`Preimage`), as plain data that outlives the models it came from."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from inversionview.criterion import Metric, PositionRule, checked_epsilon
from inversionview.errors import UserError
from inversionview.results import convert, estimators, show, storage, typical
from inversionview.results.colors import TokenColors
from inversionview.results.estimates import Component, CurvePoint, FeatureBits, Patterns, Trust
from inversionview.results.explanation import Explanation
from inversionview.results.reading import Column, Counts, FeatureColumn, Place, Reading, Sample
from inversionview.results.trust import trust

SHOWN = 1050
"""Members of an exact preimage that a reading holds."""
_ONE_NEAREST_IN = 21
"""One in so many of them is one of the nearest; the others are drawn by weight."""


@dataclass(frozen=True)
class Query:
    """An input, a token position and a site: which activation is read; or a vector of the user's own at a site."""

    study: str
    input: str | None
    """As a user types it, without begin and end; None behind a vector."""
    tokens: tuple[int, ...]
    """Token ids, begin and end included."""
    token_strings: tuple[str, ...]
    """One string for each of `tokens`."""
    position: int
    """Index into `tokens`; 0 is the begin token, and -1 none, behind a vector."""
    role: str
    """What that position is called by the task: `=`, `A1`; in free text its index. Empty for a vector of no role."""
    site: str
    """Short name: `a0.1`."""
    vector: tuple[float, ...] | None = None
    """The activation itself, in the model's convention, where there is no input behind it."""
    site_note: str = ""
    """What to know of the site in this model, in words; empty where its name says all."""

    def __str__(self) -> str:
        at = f" at {self.role}" if self.role else ""
        return f"{'a vector' if self.input is None else self.input}{at}, {self.site}"

    def __repr__(self) -> str:
        return f"<Query {self}, of {self.study}>"

    def _repr_html_(self) -> str:
        read = "" if self.position < 0 else f"{self.position}: {self.token_strings[self.position]}"
        rows = {"study": self.study, "site": self.site, "at": self.role, "token": read, "note": self.site_note}
        return show.box(str(self), rows)

    def needed_input(self, what: str) -> str:
        """The input, which `what` runs the model on or compares with. Raises `UserError` where there is none."""
        if self.input is None:
            raise UserError(f"{what} takes a query with an input, and this one is a vector of your own at {self.site}")
        return self.input


@dataclass(frozen=True, eq=False)
class Preimage(show.Drawn):
    """The distinct inputs that were proposed for a query, each run through the probed model again.

    All fields are parallel over candidates, nearest first; ties are in the order of their token ids, and what has no
    distance comes last. A candidate is a member where `inside` says so. In an exact preimage the whole domain was run,
    and only its members are kept.
    """

    query: Query
    epsilon: float
    """The largest distance of a member."""
    metric: Metric
    position_rule: PositionRule
    """`same`: only the position that plays the query's role counts; `any`: the best eligible position of each input."""
    seed: int
    domain_size: int | None
    """Number of inputs in the domain, where it can be counted; under rule `same`, of those that have the role."""
    inputs: Sequence[str]
    tokens: Int[np.ndarray, "candidate pos"]
    token_strings: Sequence[tuple[str, ...]]
    """One string a token, up to and including the first end token."""
    positions: Int[np.ndarray, " candidate"]
    """Where the rule finds the least distance (ties: the lowest index); -1 where it allows no position."""
    distances: Float[np.ndarray, " candidate"]
    """At `positions`; NaN where there is none."""
    in_domain: Bool[np.ndarray, " candidate"]
    """Whether the candidate is an input of the domain; under rule `same` it must have the query's role too."""
    sources: Sequence[dict[str, int]]
    """How many times each source drew the candidate."""
    log_prob: Float[np.ndarray, " candidate"]
    """In nats, under the decoder at temperature 1 given the query activation; NaN where it is not known."""
    token_distances: Float[np.ndarray, "candidate pos"] | None = None
    """Distance at every eligible position, NaN elsewhere; None where only `positions` were looked at."""
    token_log_prob: Float[np.ndarray, "candidate pos"] | None = None
    """`log_prob` of each token given those before it, NaN for candidates of which it was not needed."""
    log_prior: Float[np.ndarray, " candidate"] | None = None
    """log p(x) in nats under the task's prior; minus infinity outside the domain. None where it has no density."""
    domain_mass: float = 1.0
    """Prior mass of the domain: 1, or under rule `same` that of the inputs that have the role."""
    exact: bool = False
    components: tuple[Component, ...] = ()
    log_densities: Float[np.ndarray, "component candidate"] | None = None
    """log q(x) in nats of every candidate under each of `components`; NaN outside the domain."""
    colors: Float[np.ndarray, "candidate pos"] | TokenColors | None = None
    """How much the activation raised (to 1) or lowered (to -1) the probability of each token, or None. Those of a new
    reading are made as they are asked for, and are an array to numpy."""
    colors_about: str = ""
    """What `colors` compares with, in words."""
    epsilon_from: str = ""
    """How ε was chosen, in words; empty where it was given."""
    rounding: float = 0.0
    """Distance up to which the model's half precision sets one input apart from itself here; 0 in wider types."""
    bits: tuple[FeatureBits, ...] = ()
    """What the activation knows about the task's features."""
    curve: tuple[CurvePoint, ...] = ()
    """What the preimage is at other ε; only of exact preimages."""
    given: str = ""
    """Which part of the domain it is of, in words that go after `inputs`; empty where it is the whole domain."""
    columns: tuple[Column, ...] = ()
    """Features to be shown beside the candidates; see `inversionview.reading.columns`."""
    patterns: Patterns | None = None
    """What the members share; see `inversionview.reading.patterns`."""
    differences: tuple[str, ...] = ()
    """Of each near miss, what it has in place of what the members share, and "" for others; empty where not known."""
    explanation: Explanation | None = None
    """What it says, in words that were scored; None where these were not asked for."""

    @property
    def inside(self) -> Bool[np.ndarray, " candidate"]:
        """Which candidates are members: in the domain, and within epsilon."""
        return self.in_domain & (self.distances <= self.epsilon)

    @property
    def warning(self) -> str:
        """What is to be known before ε is trusted, in one sentence; empty where nothing is."""
        if self.epsilon >= self.rounding:
            return ""
        return (
            f"ε = {self.epsilon:g} is below {self.rounding:.3g}, by which half precision sets one input apart from "
            "itself here: other members may be missing, so run the model in float32, or take a larger ε"
        )

    @cached_property
    def _weights(self) -> estimators.Weights:
        return estimators.member_weights(self)

    @property
    def weights(self) -> Float[np.ndarray, " candidate"]:
        """How much each member counts for, adding up to 1; 0 for what is none; see `estimators.member_weights`."""
        return self._weights.shares

    @property
    def weighted(self) -> bool:
        """Whether `weights` are known; else all members count the same wherever something is drawn by weight."""
        return bool(self.weights.sum() > 0)

    @cached_property
    def member_shares(self) -> Float[np.ndarray, " candidate"]:
        """How much each member counts for where something is drawn or shared by weight: `weights`, or all the same."""
        return self.weights if self.weighted else self.inside / max(1, self.n_inside)

    @property
    def effective_size(self) -> float:
        """How many members of equal weight would be as good as these; of an exact preimage, their number."""
        return self._weights.effective_size

    @cached_property
    def independent(self) -> Bool[np.ndarray, " candidate"]:
        """Which candidates were drawn by a source whose density is known."""
        return estimators.independent(self)

    @property
    def counts(self) -> Int[np.ndarray, " candidate"]:
        """How many times each candidate was drawn, by all sources together."""
        return np.array([sum(times.values()) for times in self.sources], dtype=np.int64)

    @property
    def members(self) -> tuple[str, ...]:
        """The inputs that are members, nearest first: those that look like the query, which need not be typical."""
        return tuple(text for text, inside in zip(self.inputs, self.inside, strict=True) if inside)

    def typical(self, n: int, seed: int = 0) -> list[str]:
        """`n` members drawn in proportion to their weights, with replacement; none where there is no member.

        Where weights are not known (`weighted`), each member is as likely. `typical(5)` is the beginning of
        `typical(12)`.
        """
        return [self.inputs[row] for row in typical.typical_rows(self.member_shares, n, seed=seed)]

    def typical_order(self, seed: int = 0) -> Int[np.ndarray, " member"]:
        """The rows of all members in the order in which such draws first come to them.

        Members whose weight is not known while others' are, which only sources of unknown density drew, come last.
        """
        order = typical.typical_order(self.member_shares, seed=seed)
        left = self.inside.copy()
        left[order] = False
        return np.concatenate([order, np.flatnonzero(left)])

    @property
    def trust(self) -> Trust:
        """How far what is said of the preimage may be relied on, and why; see `inversionview.results.trust`."""
        return trust(self)

    def differs(self, row: int) -> str:
        """What a near miss has in place of what the members share (`F1+S1 = 13`); empty for others, or if not known."""
        return self.differences[row] if self.differences else ""

    @property
    def n_drawn(self) -> int:
        """Number of draws, repeated ones included; of an exact preimage, the inputs of the domain."""
        return self.domain_size or 0 if self.exact else int(self.counts.sum())

    @property
    def n_distinct(self) -> int:
        """Number of distinct candidates; of an exact preimage, the inputs of the domain."""
        return self.domain_size or 0 if self.exact else len(self)

    @property
    def n_in_domain(self) -> int:
        """Number of distinct candidates that are in the domain; of an exact preimage, the inputs of the domain."""
        return self.domain_size or 0 if self.exact else int(self.in_domain.sum())

    @property
    def n_inside(self) -> int:
        """Number of members, each counted once however often it was drawn."""
        return int(self.inside.sum())

    def __len__(self) -> int:
        return len(self.tokens)

    def __repr__(self) -> str:
        query = self.query
        if self.exact:
            return (
                f"<Preimage of {query}: exactly {self.n_inside:,} of "
                f"{self.domain_size:,} inputs inside ε = {self.epsilon:g}>"
            )
        return (
            f"<Preimage of {query}: {self.n_drawn:,} drawn, {self.n_distinct:,} "
            f"distinct, {self.n_in_domain:,} in the domain, {self.n_inside:,} inside ε = {self.epsilon:g}>"
        )

    def at_epsilon(self, epsilon: float) -> Preimage:
        """The same candidates with another ε; nothing is computed again, and what is said of the old ε is left out.

        Raises `UserError` unless it is above 0, and in an exact preimage at most the ε that was searched.
        """
        epsilon = checked_epsilon(epsilon)
        changes: dict[str, Any] = {"epsilon": epsilon, "epsilon_from": "", "bits": ()}
        changes |= {"patterns": None, "differences": (), "explanation": None}
        if not self.exact:
            return dataclasses.replace(self, **changes)
        if epsilon > self.epsilon:
            raise UserError(
                f"this exact preimage holds what is within {self.epsilon:g}: to have what is within {epsilon:g}, "
                "search again"
            )
        return self.head(int((self.distances <= epsilon).sum()), **changes)

    def head(self, n: int, **changes: Any) -> Preimage:
        """The nearest `n` candidates; of an exact preimage this is no longer all there is, and only for showing."""
        return self._taken(slice(0, n), **changes)

    def _taken(self, rows: slice | Int[np.ndarray, " row"], **changes: Any) -> Preimage:
        """Some of the candidates, for showing; a slice does not decode texts before they are asked for."""
        tables = ["tokens", "positions", "distances", "in_domain", "log_prob", "token_distances", "log_prior", "colors",
                  "token_log_prob"]  # fmt: skip
        cut = {name: value[rows] for name in tables if (value := getattr(self, name)) is not None}
        for name in ("sources", "inputs", "token_strings", "differences"):
            values = getattr(self, name)
            cut[name] = values[rows] if isinstance(rows, slice) else tuple(values[i] for i in rows.tolist() if values)
        if self.log_densities is not None:
            cut["log_densities"] = self.log_densities[:, rows]
        cut["columns"] = tuple(column.take(rows) for column in self.columns)
        return dataclasses.replace(self, **cut | changes)

    def to_dict(self, n: int | None = None) -> dict[str, Any]:
        """The document that `inversionview read --json` prints: JSON types only, None for what is not known.

        `drawn` counts draws; `distinct`, `in_domain` and `inside` count distinct inputs, all of them, though only the
        nearest `n` be among the samples.
        """
        query, shown = self.query, len(self) if n is None else min(n, len(self))
        document: dict[str, Any] = convert.plain(
            {
                "schema": convert.SCHEMA,
                "study": query.study,
                "query": {
                    "input": query.input,
                    "tokens": query.tokens,
                    "position": None if query.input is None else query.position,
                    "at": query.role,
                    "site": query.site,
                    **({"site_note": query.site_note} if query.site_note else {}),
                    **({} if query.vector is None else {"vector": query.vector}),
                },
                "epsilon": self.epsilon,
                "epsilon_from": self.epsilon_from,
                "rounding": self.rounding or None,
                "warning": self.warning or None,
                "metric": self.metric,
                "position_rule": self.position_rule,
                "seed": self.seed,
                "exact": self.exact,
                "domain": self.domain_size,
                "given": self.given or None,
                "drawn": self.n_drawn,
                "distinct": self.n_distinct,
                "in_domain": self.n_in_domain,
                "inside": self.n_inside,
                "size": estimators.size(self),
                "completeness": estimators.completeness(self),
                "bits": estimators.informative_bits(self.bits),
                "curve": self.curve,
                "sources": estimators.source_draws(self),
                "trust": self.trust,
                "patterns": self.patterns,
                "explanation": self.explanation,
                "weighted": self.weighted,
                "typical": [row for row in self.typical_order().tolist() if row < shown],
            }
        )
        columns = self._columns(shown)
        samples = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
        return document | {"samples": samples}

    def _columns(self, n: int) -> dict[str, list[Any]]:
        """What the document says of each of the first `n` candidates."""
        columns: dict[str, list[Any]] = {
            "input": list(self.inputs[:n]),
            "position": [None if position < 0 else position for position in self.positions[:n].tolist()],
            "distance": convert.plain(self.distances[:n]),
            "inside": self.inside[:n].tolist(),
            "in_domain": self.in_domain[:n].tolist(),
            "sources": [dict(times) for times in self.sources[:n]],
            "log_prob": convert.plain(self.log_prob[:n]),
            "weight": self.weights[:n].tolist() if self.weighted else [None] * n,
        }
        if self.differences:
            columns["differs"] = list(self.differences[:n])
        if self.columns:
            columns["features"] = [{c.name: c.text(i) for c in self.columns} for i in range(n)]
        return columns

    def to_reading(self, n: int | None = None) -> Reading:
        """What `inversionview.report` draws.

        Of an exact preimage it holds `n` members: by default the first 1,000 of the typical order, and the nearest 50.
        """
        query, rows = self.query, self._shown(SHOWN if n is None else n)
        shown = self if rows is None else self._taken(rows)
        return Reading(
            study=query.study,
            site=query.site,
            metric=self.metric,
            epsilon=self.epsilon,
            position_rule=self.position_rule,
            seed=self.seed,
            domain_size=self.domain_size,
            exact=self.exact,
            query=Place(query.token_strings, query.position, query.role or "any position"),
            counts=Counts(self.n_drawn, self.n_distinct, self.n_in_domain, self.n_inside),
            sources=estimators.source_draws(self),
            samples=shown._samples(self.weights if rows is None else self.weights[rows], self.weighted),
            colors_about=self.colors_about,
            size=estimators.size(self),
            bits=estimators.informative_bits(self.bits),
            curve=self.curve,
            epsilon_from=self.epsilon_from,
            warning=self.warning,
            site_note=self.query.site_note,
            shares=estimators.query_shares(self),
            given=self.given or None,
            features=[
                FeatureColumn(c.name, [c.text(i) or "" for i in range(len(shown))], c.query) for c in shown.columns
            ],
            completeness=None if self.exact else estimators.completeness(self),
            typical=self._typical_among(rows),
            weighted=self.weighted,
            patterns=self.patterns,
            explanation=self.explanation,
            trust=self.trust,
        )

    def _shown(self, n: int) -> Int[np.ndarray, " row"] | None:
        """Rows of an exact preimage that a reading holds, nearest first; None for all."""
        if not self.exact or len(self) <= n:
            return None
        nearest = n // _ONE_NEAREST_IN
        return np.unique(np.concatenate([self.typical_order()[: n - nearest], np.arange(nearest)]))

    def _typical_among(self, rows: Int[np.ndarray, " row"] | None) -> tuple[int, ...]:
        """The typical order of some of the candidates, by their indices among them."""
        order = self.typical_order()
        if rows is None:
            return tuple(order.tolist())
        place = np.full(len(self), -1)
        place[rows] = np.arange(len(rows))
        return tuple(place[order][place[order] >= 0].tolist())

    def _samples(self, weights: Float[np.ndarray, " candidate"], weighted: bool) -> list[Sample]:
        samples = []
        for i, (inside, weight) in enumerate(zip(self.inside.tolist(), weights.tolist(), strict=True)):
            strings, colors, distances = self.token_strings[i], self.colors, self.token_distances
            sample = Sample(
                tokens=strings,
                position=max(0, int(self.positions[i])),
                distance=convert.plain(float(self.distances[i])),
                inside=inside,
                in_domain=bool(self.in_domain[i]),
                count=sum(self.sources[i].values()),
                log_prob=convert.plain(float(self.log_prob[i])),
                colors=_row_colors(colors, i, len(strings)),
                token_distances=None if distances is None else convert.plain(distances[i, : len(strings)]),
                weight=weight if weighted else None,
                differs=self.differs(i),
            )
            samples.append(sample)
        return samples

    def to_pandas(self) -> Any:
        """A pandas `DataFrame`, one row a candidate, `columns` last; one whose name is taken is called `feature NAME`.

        Raises `UserError` without pandas (the extra `notebook`).
        """
        table = {
            "input": self.inputs,
            "position": self.positions,
            "distance": self.distances,
            "inside": self.inside,
            "in_domain": self.in_domain,
            "count": self.counts,
            "sources": self.sources,
            "log_prob": self.log_prob,
            "weight": self.weights,
        }
        for column in self.columns:
            name = f"feature {column.name}" if column.name in table else column.name
            table[name] = [column.text(i) for i in range(len(self))]
        return convert.frame(table)

    def save(self, path: str | Path) -> None:
        """Write everything to a `.json` or a `.parquet` file (the extra `parquet`), whole or not at all.

        Raises `UserError` for another kind of file, or when it cannot be written.
        """
        colors = None if self.colors is None else np.asarray(self.colors)
        storage.save(self.to_dict(), {**vars(self), "colors": colors}, Path(path))

    @classmethod
    def load(cls, path: str | Path) -> Preimage:
        """Read what `save` wrote, to the last bit.

        Raises `UserError` for a file that is missing, damaged, truncated, or written by a newer version.
        """
        fields = storage.load(Path(path))
        return cls(**fields | {"query": Query(**fields["query"])})


def _row_colors(
    colors: Float[np.ndarray, "candidate pos"] | TokenColors | None, row: int, length: int
) -> Sequence[float] | None:
    if isinstance(colors, TokenColors):
        return colors.of(row, length)
    return None if colors is None else colors[row, :length].tolist()
