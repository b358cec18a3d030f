"""What a study is made of: a probed model, a task and, for what is sampled, a decoder; and how far a member may be."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch

from inversionview.bank.bank import Bank
from inversionview.criterion import DEFAULT, Criterion
from inversionview.decoder.model import Decoder
from inversionview.decoder.places import ANYWHERE
from inversionview.errors import UserError
from inversionview.preimage.epsilon.calibration import Epsilon, epsilons_of
from inversionview.probed.model import ProbedModel
from inversionview.probed.site_groups import select
from inversionview.results.preimage import Query
from inversionview.sites import Site
from inversionview.tasks.base import Restrictable, Task, restricted


class Parts(Protocol):
    """The parts that the verbs work on, in memory or in a folder from which each is loaded when it is first used."""

    @property
    def name(self) -> str:
        """What results call the study."""

    @property
    def probed(self) -> ProbedModel:
        """The model that is read."""

    @property
    def task(self) -> Task:
        """The domain of the inputs."""

    @property
    def decoder(self) -> Decoder | None:
        """What proposes inputs; None where there is none."""

    @property
    def has_decoder(self) -> bool:
        """Whether there is one, which needs not be loaded for that."""

    @property
    def sites(self) -> tuple[str, ...]:
        """Short names of the sites that can be read."""

    @property
    def criterion(self) -> Criterion:
        """What makes an input a member, where nothing else is asked for."""

    @property
    def fingerprint(self) -> str:
        """Of the probed model."""

    @property
    def read(self) -> str:
        """Which activations a decoder is trained on and measured by; see `decoder.places`."""

    @property
    def folder(self) -> Path | None:
        """Where they lie on disk; None for those in memory alone."""

    @property
    def loaded(self) -> bool:
        """Whether the probed model is in memory."""


@dataclass(frozen=True)
class LiveParts:
    """The parts in memory."""

    name: str
    probed: ProbedModel
    task: Task
    decoder: Decoder | None = None
    criterion: Criterion = DEFAULT
    chosen: tuple[str, ...] | None = None
    """The sites that can be read; None for those of the decoder, or without one for all of the model's."""
    read: str = ANYWHERE
    folder: Path | None = None

    @property
    def has_decoder(self) -> bool:
        """Whether there is a decoder."""
        return self.decoder is not None

    @property
    def loaded(self) -> bool:
        """Always."""
        return True

    @property
    def fingerprint(self) -> str:
        """Of the probed model."""
        return self.probed.fingerprint

    @property
    def sites(self) -> tuple[str, ...]:
        """Short names of the sites that can be read."""
        if self.chosen is not None:
            return self.chosen
        return tuple(map(str, self.probed.sites)) if self.decoder is None else self.decoder.config.sites


LISTED = 30
"""Sites that an error names, at most."""
COUNTED = 3e13
"""Multiplications and additions up to which all inputs of a domain are run where nothing else is asked for."""


def counts_all(parts: Parts) -> bool:
    """Whether all inputs are run where nothing else is asked for: they can be listed, in a few minutes at most."""
    size, weights = parts.task.size, sum(parameter.numel() for parameter in parts.probed.model.parameters())
    return size is not None and 2.0 * weights * parts.task.max_length * size <= COUNTED


def live_parts(parts: Parts, *, task: Task | None = None) -> LiveParts:
    """The parts of a study in memory, with another task where one is given; its decoder stays that of the whole."""
    return LiveParts(
        parts.name, parts.probed, task or parts.task, parts.decoder, parts.criterion, parts.sites, parts.read,
        parts.folder,
    )  # fmt: skip


def part_of(parts: Parts, query: Query, name: str) -> tuple[LiveParts, str]:
    """The inputs that share something with the query's, by its name, as a domain; and what they are, in words.

    Raises `UserError` for a vector, and as `restricted` does.
    """
    query.needed_input(f"the part of the domain given {name}")
    part = live_parts(parts, task=restricted(parts.task, torch.tensor(query.tokens), name))
    assert isinstance(parts.task, Restrictable)
    return part, parts.task.restrictions[name]


def checked_site(parts: Parts, site: str | Site | None) -> str:
    """The short name of a site of the study, or of one that no study chooses by itself: attention inputs, z, views.

    Raises `UserError` that names the sites there are.
    """
    there_are = f"the sites of {parts.name} are: {_listed(parts.sites)}"
    if site is None:
        raise UserError(f"give a site to read; {there_are}")
    if str(site) in parts.sites:
        return str(site)
    own = parts.probed.find_site(site)
    if own is not None and own not in parts.probed.sites:
        return str(own)
    try:
        name = str(Site.parse(site))
    except UserError as error:
        raise UserError(f"unknown site {str(site)!r}; {there_are}") from error
    if name not in parts.sites:
        lacks = f"the decoder of {parts.name} was not trained on" if parts.has_decoder else f"{parts.name} has no"
        raise UserError(f"{lacks} site {name}; {there_are}")
    return name


def _listed(sites: Sequence[str]) -> str:
    """All of a few, and of many the first ones and how many there are."""
    return ", ".join(sites if len(sites) <= LISTED else [*sites[:LISTED], f"... ({len(sites):,} in all)"])


def checked_sites(parts: Parts, names: Iterable[str | Site] | str | Site) -> tuple[str, ...]:
    """Short names of the sites that names stand for: single ones, kinds and layers, which choose from the study's.

    Raises `UserError` as `checked_site` and `probed.site_groups.select` do.
    """
    there = [parts.probed.site(site) for site in parts.sites]
    chosen = select(names, there, lambda name: parts.probed.site(checked_site(parts, name)))
    return tuple(map(str, chosen))


def decoder_for(parts: Parts, queries: Sequence[Query]) -> Decoder | None:
    """The decoder, where there is one that was trained on the sites of all these queries."""
    decoder = parts.decoder
    return decoder if decoder and {query.site for query in queries} <= set(decoder.config.sites) else None


def needed_decoder(parts: Parts) -> Decoder:
    """The decoder. Raises `UserError` that says how to get one where there is none."""
    decoder = parts.decoder
    if decoder is None:
        source = "train_decoder" if parts.folder is None else f"`inversionview train {parts.folder} --out FOLDER`"
        raise UserError(f"study {parts.name} has no decoder yet: train one with {source}")
    return decoder


def measured(
    parts: Parts, queries: Sequence[Query], criterion: Criterion, seed: int, *, bank: Bank | None = None
) -> list[Epsilon]:
    """The ε of each query, a null quantile by the pairs of a bank where there is one.

    Raises `UserError` for a site that the study has not, and a rule that no ε fulfils.
    """
    for query in queries:
        checked_site(parts, query.site)
        if criterion.position_rule == "same" and not query.role:
            raise UserError("the vector of this query has no role: give it one (at='='), or position_rule 'any'")
        if str(criterion.epsilon).startswith("causal"):
            query.needed_input("a causal epsilon")
    decoder = decoder_for(parts, queries) if str(criterion.epsilon).startswith("causal") else None
    return epsilons_of(criterion, queries, probed=parts.probed, task=parts.task, decoder=decoder, seed=seed, bank=bank)
