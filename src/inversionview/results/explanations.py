"""Explanations of one activation, the best first, and of sites over many activations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from inversionview.results import convert, show
from inversionview.results.explanation import GENERATION, Explanation, Score, percent
from inversionview.results.preimage import Query


@dataclass(frozen=True)
class Cost:
    """What a language model was asked and answered."""

    requests: int
    prompt_tokens: int
    completion_tokens: int


@dataclass(frozen=True)
class Explanations:
    """What may be said of one activation, the best first."""

    study: str
    query: Query
    epsilon: float
    members: int
    """That were looked at, without the query's own input."""
    exact: bool
    """Whether all inputs were counted."""
    seed: int
    explanations: tuple[Explanation, ...]
    cost: Cost | None = None
    """Where a language model was asked."""
    given: str | None = None
    """Of which part of the domain, in words that go after `inputs`; None for the whole."""

    def __repr__(self) -> str:
        return "\n".join([f"<Explanations of {self.query}>", *map(repr, self.explanations)])

    def _repr_html_(self) -> str:
        rows = {name.replace("_", " "): str(score) for name, score in self.best.scores.items()}
        return show.box(f"{self.query}: {self.best.words}", {"says nothing": self.best.says_nothing, **rows})

    @property
    def best(self) -> Explanation:
        """The first one."""
        return self.explanations[0]

    def to_dict(self) -> dict[str, Any]:
        """The document that `inversionview explain --json` prints."""
        query = self.query
        document: dict[str, Any] = convert.plain(
            {
                "schema": convert.SCHEMA,
                "study": self.study,
                "query": {
                    "input": query.input, "tokens": query.tokens,
                    "position": None if query.input is None else query.position, "at": query.role, "site": query.site,
                },
                "epsilon": self.epsilon,
                "members": self.members,
                "exact": self.exact,
                "seed": self.seed,
                "explanations": self.explanations,
                **({} if self.cost is None else {"cost": self.cost}),
                **({} if self.given is None else {"given": self.given}),
            }
        )  # fmt: skip
        return document


@dataclass(frozen=True)
class Told:
    """Something that explanations at a site speak of."""

    about: str
    """Features, sums and differences, by commas; empty where they say nothing."""
    share: float
    """Of the activations."""
    example: str
    """The words of one of them."""


@dataclass(frozen=True)
class SiteExplanation:
    """What a site says at a position, over activations of many inputs."""

    site: str
    at: str
    words: str
    queries: int
    told: tuple[Told, ...]
    """The most frequent first."""
    scores: Mapping[str, Score]
    """Means over the activations whose explanations say something; the interval is of the mean."""
    used: Score | None = None
    """Of those of which it is known, the share whose explanation the model uses; None where that was not tried."""

    @property
    def line(self) -> str:
        """The words, with how many of the inputs that fit explanations there are members."""
        generation = self.scores.get(GENERATION)
        if generation is None or generation.value is None:
            return self.words
        floor = "" if generation.floor is None else f", {percent(generation.floor)} of random ones"
        return f"{self.words}; {percent(generation.value)} of inputs that fit are members{floor}"


@dataclass(frozen=True)
class SiteExplanations:
    """A sentence a site."""

    study: str
    at: str
    sites: tuple[SiteExplanation, ...]
    seed: int

    def __repr__(self) -> str:
        return "\n".join(f"{one.site} at {one.at}: {one.words}" for one in self.sites)

    def _repr_html_(self) -> str:
        return show.fragment(self)

    def to_html(self) -> str:
        """A self-contained HTML page that shows them."""
        return show.page(self)

    def to_dict(self) -> dict[str, Any]:
        """The document that `inversionview explain --sites ... --json` prints."""
        document: dict[str, Any] = convert.document(self)
        return document


def in_words(told: Sequence[Told], queries: int) -> str:
    """One sentence about a site: what most of its explanations speak of, and the others."""
    if not told:
        return "too few members to say anything"
    parts = [f"{one.about or 'nothing that the features name'} in {round(one.share * queries)}" for one in told[:3]]
    rest = 1 - sum(one.share for one in told[:3])
    if rest > 1e-9:
        parts.append(f"something else in {round(rest * queries)}")
    return f"tells {'; '.join(parts)} of {queries} activations"
