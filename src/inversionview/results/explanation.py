"""What an activation says, in words, and how well the words fared when they were tried on inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from inversionview.results import convert, show
from inversionview.results.preimage import Query

DETECTION, NEAR_MISSES, RANDOM_INPUTS = "detection", "detection_near_misses", "detection_random_inputs"
GENERATION, OTHERS, CONSISTENCY = "generation", "generation_other_activations", "consistency"
ABOUT = {
    GENERATION: "of inputs written to fit it, inside ε when run through the model; floor: of random inputs",
    DETECTION: "members told from near misses and random inputs by it alone, balanced accuracy",
    NEAR_MISSES: "the same, from the nearest inputs outside ε",
    RANDOM_INPUTS: "the same, from random inputs outside ε",
    CONSISTENCY: "of members, weighted by the prior (feature consistency rate); floor: of random inputs",
    OTHERS: "of inputs written to fit it, inside ε of the activations of random inputs at the same site",
}
"""What each score is the share of."""


@dataclass(frozen=True)
class Score:
    """A share between 0 and 1; None where `why_not` says why."""

    value: float | None
    interval: tuple[float, float] | None
    """At 95%; the value itself where all inputs were counted."""
    floor: float | None
    """What words that say nothing get."""
    n: int
    """Inputs it was tried on."""
    why_not: str | None = None

    @property
    def shown(self) -> str:
        """The value with its interval, or why there is none."""
        if self.value is None or self.interval is None:
            return f"not known: {self.why_not}"
        low, high = self.interval
        return f"{self.value:.3f}" if high - low < 5e-4 else f"{self.value:.3f} ({low:.3f}, {high:.3f})"

    def __str__(self) -> str:
        return self.shown + ("" if self.floor is None else f", floor {self.floor:.3f}")


@dataclass(frozen=True)
class Explanation:
    """Words about an activation, with what they are worth."""

    words: str
    expression: str | None
    """The same over the task's features, where there is such a thing."""
    found_by: str
    """`features`, or the name of a language model."""
    scores: Mapping[str, Score]
    """Generation first, see `ABOUT`."""
    about: tuple[str, ...] = ()
    """The features, sums and differences that it speaks of."""
    says_nothing: str = ""
    """Why it says nothing about this activation; empty where it does."""

    def __repr__(self) -> str:
        said = f"{self.words}; {self.says_nothing}" if self.says_nothing else self.words
        shown = (f"{name.replace('_', ' ')} {score}" for name, score in self.scores.items())
        return f"<{said}: {'; '.join(shown)}>" if self.scores else f"<{said}>"


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
        return show.box(f"{self.study} at {self.at}", {one.site: one.words for one in self.sites})

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
