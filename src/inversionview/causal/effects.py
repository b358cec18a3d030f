"""What was patched, and what it did: plain numbers, as tables, documents, pages and plots."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, get_args

import numpy as np
from jaxtyping import Float

from inversionview.errors import UserError
from inversionview.results import patching
from inversionview.results.patching import Direction, Order, Patching
from inversionview.sites import Site

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class PatchSite:
    """A site, and the role or index (the begin token is 0) of the position at which it is patched."""

    site: Site
    at: str
    spelled: str = field(default="", compare=False)
    """As it was typed."""

    def __str__(self) -> str:
        return self.spelled or f"{self.site}@{self.at}"


class Configuration(NamedTuple):
    """Sites that are patched together, the one added last at the end."""

    sites: tuple[PatchSite, ...]
    order: str
    """The order it is a part of: forward, reverse, each or together; empty where it is of none."""


class Mean(NamedTuple):
    """A mean over inputs and its standard error, which is NaN for one input."""

    mean: float
    se: float


class Effect(NamedTuple):
    """What patching one configuration does to the logit difference."""

    configuration: Configuration
    patched: Mean
    """The logit difference of the patched run."""
    drop: Mean
    """What the clean run's logit difference is above it, input by input."""


@dataclass(frozen=True, eq=False)
class PatchEffects:
    """Logit differences, logit(clean answer) − logit(contrast answer), of every pair of runs and every configuration.

    The difference is read where the run in question predicts its own target. All values are in fp64, by pair.
    """

    direction: Direction
    configurations: tuple[Configuration, ...]
    clean: Float[np.ndarray, " batch"]
    contrast: Float[np.ndarray, " batch"]
    """Of the contrast run, unpatched: what patching everything would give."""
    patched: Float[np.ndarray, "configuration batch"]
    left_out: Mapping[str, int] = field(default_factory=dict)
    """How many clean inputs were drawn and not kept: by `where`, by `contrast`, or for lack of a `position`."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """What the pairs were made of: study, target, at, contrast, where, contrast_where, seed, drawn."""

    @property
    def n(self) -> int:
        """Pairs that are left after the conditions."""
        return len(self.clean)

    @cached_property
    def effects(self) -> tuple[Effect, ...]:
        """Means over pairs, a configuration each; the standard error of a drop is that of the paired differences."""
        return tuple(
            Effect(configuration, mean_of(values), mean_of(self.clean - values))
            for configuration, values in zip(self.configurations, self.patched, strict=True)
        )

    def __repr__(self) -> str:
        return f"<PatchEffects: {len(self.configurations)} configurations, {self.direction}, {self.n:,} pairs>"

    @cached_property
    def summary(self) -> Patching:
        """The means, as they are drawn and printed."""
        clean, contrast = mean_of(self.clean), mean_of(self.contrast)
        said = dict.fromkeys(("study", "target", "at", "contrast", "where", "contrast_where", "seed", "drawn"))
        return Patching(
            **(said | dict(self.settings)),
            direction=self.direction,
            n=self.n,
            left_out=dict(self.left_out),
            clean=clean.mean,
            clean_se=_or_none(clean.se),
            contrast_run=contrast.mean,
            contrast_run_se=_or_none(contrast.se),
            effects=[
                patching.Effect(
                    sites=[str(site) for site in effect.configuration.sites],
                    positions=[site.at for site in effect.configuration.sites],
                    order=effect.configuration.order,
                    patched=effect.patched.mean,
                    patched_se=_or_none(effect.patched.se),
                    drop=effect.drop.mean,
                    se=_or_none(effect.drop.se),
                )
                for effect in self.effects
            ],
        )

    def to_dict(self) -> dict[str, Any]:
        """The document that `inversionview patch --json` prints."""
        return self.summary.to_dict()

    def to_html(self) -> str:
        """A self-contained HTML page that shows these effects."""
        return self.summary.to_html()

    def _repr_html_(self) -> str:
        return self.summary._repr_html_()

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, Any]:
        return self.summary._repr_mimebundle_()

    def plot(self, path: str | Path | None = None) -> Figure:
        """Draw the effects as a matplotlib figure, and save it if a path is given.

        Raises `UserError` without matplotlib (the extra `plot`), or when the file cannot be written.
        """
        from inversionview.report.patching_plot import plot_patching

        return plot_patching(self.summary, path)


def mean_of(values: Float[np.ndarray, " batch"]) -> Mean:
    """Mean and standard error over inputs."""
    se = float(values.std(ddof=1)) / math.sqrt(len(values)) if len(values) > 1 else math.nan
    return Mean(float(values.mean()), se)


def _or_none(value: float) -> float | None:
    return value if math.isfinite(value) else None


def parse_patch_sites(
    text: str, at: str | int | None = None, select: Callable[[str], Sequence[Site]] = lambda name: [Site.parse(name)]
) -> tuple[PatchSite, ...]:
    """Sites separated by commas, each at a position of its own or else at `at`: `a0.0@letter,embed@letter,a1.0`.

    `select` makes sites of a name; `ProbedModel.select_sites` takes kinds, layers and views as well: `a18-24@END`.
    Raises `UserError` for what is no site, and one without a position.
    """
    sites = []
    for part in (part.strip() for part in text.split(",")):
        name, _, own = part.partition("@")
        if not part or (not own and at is None):
            raise UserError(
                f"{text!r} must be sites separated by commas, each with its position after an @ unless one is given "
                "for all, such as a0.0@=,a1.0@A1"
            )
        for site in select(name):
            sites.append(PatchSite(site, own or str(at), f"{site}@{own}" if own else str(site)))
    return tuple(sites)


def ordered(sites: Sequence[PatchSite], order: Order | str = "forward") -> list[Configuration]:
    """The configurations of an order: one site more each time, from the first (`forward`) or the last (`reverse`) on.

    `both` is forward and then reverse, `each` one site at a time, `together` all of them. Raises `UserError` for
    another order, no sites, and a site that is named twice.
    """
    sites = tuple(sites)
    if not sites:
        raise UserError("name at least one site to patch, such as a0.0@=")
    for i, site in enumerate(sites):
        if site in sites[:i]:
            raise UserError(f"the order names {site.site} at {site.at} twice: name each site once")
    forward = [Configuration(sites[: i + 1], "forward") for i in range(len(sites))]
    reverse = [Configuration(sites[::-1][: i + 1], "reverse") for i in range(len(sites))]
    made = {
        "forward": forward,
        "reverse": reverse,
        "both": forward + reverse,
        "each": [Configuration((site,), "each") for site in sites],
        "together": [Configuration(sites, "together")],
    }
    if order not in made:
        raise UserError(f"there is no order {order!r}: use {', '.join(get_args(Order))}")
    return made[order]
