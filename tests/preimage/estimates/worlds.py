"""Domains of numbered inputs, of which all is known."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from inversionview.results.estimates import Component
from inversionview.results.preimage import Preimage, Query

QUERY = Query("made up", "0", (0, 0), ("0", "0"), 1, "1", "x0.post")


class World(NamedTuple):
    """A domain of numbered inputs; its sources are the prior and others, each with a density over the whole domain."""

    prior: np.ndarray
    inside: np.ndarray
    densities: dict[str, np.ndarray]
    draws: dict[str, int]

    @property
    def truth(self) -> float:
        """Prior mass of the preimage."""
        return float(self.prior[self.inside].sum())

    def draw(self, seed: int) -> Preimage:
        rng = np.random.default_rng(seed)
        counts = {name: rng.multinomial(self.draws[name], q / q.sum()) for name, q in self.densities.items()}
        return self.preimage(counts)

    def preimage(self, counts: dict[str, np.ndarray], *, extra: dict[str, np.ndarray] | None = None) -> Preimage:
        """What these draws give; `extra` are draws of sources whose density is not known."""
        every = counts | (extra or {})
        rows = np.flatnonzero(sum(every.values()))
        components = tuple(Component(name, int(times.sum())) for name, times in counts.items())
        with np.errstate(divide="ignore"):
            log_densities = np.log(np.array([self.densities[name][rows] for name in counts]))
            return made(
                rows,
                self.inside[rows],
                sources=tuple({name: int(t[row]) for name, t in every.items() if t[row]} for row in rows),
                log_prior=np.log(self.prior[rows]),
                components=components,
                log_densities=log_densities.reshape(len(components), len(rows)),
                domain_size=len(self.prior),
            )


def made(rows: np.ndarray, inside: np.ndarray, **changes) -> Preimage:
    n = len(rows)
    texts = tuple(str(row) for row in rows)
    fields = {
        "query": QUERY,
        "epsilon": 0.5,
        "metric": "euclidean",
        "position_rule": "same",
        "seed": 0,
        "domain_size": None,
        "inputs": texts,
        "tokens": np.stack([rows // 1000, rows % 1000], axis=1),
        "token_strings": tuple(("B", text) for text in texts),
        "positions": np.ones(n, dtype=np.int64),
        "distances": np.where(inside, 0.1, 0.9),
        "in_domain": np.ones(n, dtype=bool),
        "sources": ({"given": 1},) * n,
        "log_prob": np.full(n, np.nan),
    }
    return Preimage(**fields | changes)


def world(
    domain: int = 2000,
    members: int = 300,
    draws: tuple[int, int, int] = (200, 300, 300),
    *,
    tilt: float = 0.0,
    sharp: float = 1.0,
    hits: float = 0.8,
) -> World:
    """The prior, and two temperatures of a decoder that is inside with probability `hits`."""
    rng = np.random.default_rng(7)
    inside = np.zeros(domain, dtype=bool)
    inside[rng.choice(domain, members, replace=False)] = True
    scores = np.exp(sharp * rng.standard_normal(domain))
    prior = 1 + tilt * (scores > 1)  # what is probable is found first
    densities = {"prior": prior / prior.sum()}
    for temperature in (1, 2):
        q = scores ** (1 / temperature)
        q = np.where(inside, hits * q / q[inside].sum(), (1 - hits) * q / max(q[~inside].sum(), 1e-9))
        densities[f"decoder t={temperature}"] = q
    return World(prior / prior.sum(), inside, densities, dict(zip(densities, draws, strict=True)))
