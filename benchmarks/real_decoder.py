"""A decoder for 26 heads of SmolLM2-135M on IOI after 20 minutes on two threads, from nothing.

The heads are chosen by rules, before anything is trained (`chosen_sites.py`), and ε is `null:0.02`: one in fifty
unrelated inputs is a member by chance. A smaller share is out of reach over all positions, since 1.3% of unrelated
sentences begin with the very same words. Told are the activations a second over the whole run, captures included; the
in-ε rate of each head beside its floor, over all positions, and at END alone with ε `null:0.01` of the head there; and
what readings at END gain by the decoder: in how many cells (a query's input, a head) it finds members that a bank of
4,000 inputs does not hold. Fresh inputs from the prior would find some, too: as many draws of it are run beside.

`python -m benchmarks.real_decoder --train` only trains, into `runs/smollm2-ioi` or the folder that `INVERSIONVIEW_RUNS`
names in place of `runs`; a run that was stopped goes on, and a study that is there is not trained again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from benchmarks.chosen_sites import chosen
from benchmarks.common import BEGIN, Row, smollm2
from benchmarks.long_training import QUICK, LongRun, Measured, least_row, main, mean_row, measure, pace, train, trained
from inversionview.bank.bank import Bank
from inversionview.criterion import SiteEpsilons
from inversionview.decoder.places import Anywhere, Reads
from inversionview.preimage.epsilon.null import bank_epsilon
from inversionview.preimage.estimates.rates import in_epsilon
from inversionview.preimage.sampled import query_activations, sampled_preimages
from inversionview.preimage.sources.banked import bank_sample
from inversionview.preimage.sources.proposals import DecoderSource, PriorSource, Source
from inversionview.reading.hypotheses import is_row
from inversionview.results.preimage import Preimage, Query
from inversionview.seeds import seeded
from inversionview.sites import Site
from inversionview.studies.banks import INPUTS, bank_for
from inversionview.studies.parts import measured as measured_epsilons
from inversionview.studies.parts import needed_decoder
from inversionview.studies.study import Study
from inversionview.tasks.base import Split
from inversionview.tasks.positions import eligible_role

EPSILON, NAME = "null:0.02", "SmolLM2 on IOI"
ROLE, SHARE = "END", 0.01
"""Where readings are made, and the share of unrelated inputs that is inside there."""
TARGET_PACE, TARGET_MEAN, TARGET_LEAST, TARGET_CELLS = 800.0, 0.40, 0.15, 0.5
QUERIES, CELLS, CANDIDATES = 300, 50, 150
"""Held-out inputs a head for its rate; readings; candidates of each from the decoder, and as many from the prior."""


def long_run(*, quick: bool = False) -> LongRun:
    """What is trained; `quick`, for a small model that comes with the package, so that it needs no other."""
    if quick:
        return LongRun("ioi-small", ["ioi-small", "--sites", "a0.0,a2.1", "--epsilon", "0.3"], QUICK)
    sites = ",".join(chosen("ioi"))
    of_model = ["--model", str(smollm2()), "--begin", BEGIN]
    return LongRun("smollm2-ioi", ["ioi", *of_model, "--sites", sites, "--epsilon", EPSILON], ["--minutes", "20"])


class Gain(NamedTuple):
    """Of one reading: members beside the query itself."""

    bank: int
    """In the bank."""
    by_decoder: int
    """That the decoder drew and the bank does not hold."""
    by_prior: int
    """The same of as many fresh draws from the prior."""


def run(*, quick: bool = False) -> list[Row]:
    """Pace, rates, and what readings gain."""
    sizes = (10, 4, 20, 300) if quick else (QUERIES, CELLS, CANDIDATES, INPUTS)
    with trained(long_run(quick=quick), quick=quick) as study:
        rates = measure(study, sizes[0])
        bank = bank_for(study.parts, study.probed.select_sites(study.sites), [ROLE], n=sizes[3])
        at_end = measure_at_end(study, bank, sizes[0] // 2)
        gains = readings(study, bank, *sizes[1:3])
        came_to = pace(study)
    return [
        {"name": f"{NAME}, training from scratch", "value": came_to.activations, "unit": "activations/s",
         "target": TARGET_PACE, "sense": "at least", "detail": came_to.told()},
        mean_row(f"{NAME}, {EPSILON}", rates, "same", TARGET_MEAN),
        least_row(f"{NAME}, {EPSILON}", rates, "same", TARGET_LEAST),
        mean_row(f"{NAME} at {ROLE}, null:{SHARE:g} there", at_end, "same", TARGET_MEAN),
        least_row(f"{NAME} at {ROLE}, null:{SHARE:g} there", at_end, "same", TARGET_LEAST),
        *gain_rows(gains, sizes[2], sizes[3]),
    ]  # fmt: skip


@dataclass(frozen=True)
class AtEnd(Anywhere):
    """Every input is read at END."""

    def at(self, sites: Sequence[Site], n: int, generator: torch.Generator, split: Split) -> Reads:
        """The same inputs for all sites."""
        tokens = self.task.sample(n, generator=generator, split=split).repeat(len(sites), 1)
        return Reads(tokens, eligible_role(self.task, tokens, ROLE), torch.arange(len(sites)).repeat_interleave(n))


def measure_at_end(study: Study, bank: Bank, n: int) -> Measured:
    """In-ε rates at END alone, with the ε that the bank gives each head there."""
    decoder, sites = needed_decoder(study.parts), needed_decoder(study.parts).config.sites
    cells = [(study.probed.site(site), ROLE) for site in sites]
    there = bank_epsilon(bank, cells, SHARE, metric=study.criterion.metric)
    epsilons = SiteEpsilons({site: there[site, ROLE].epsilon for site in sites}, f"null:{SHARE:g}")
    samples, floor, positions = in_epsilon(
        decoder, study.probed, study.task, n, criterion=study.criterion.but(epsilons), generator=seeded(3),
        places=AtEnd(study.task),
    )  # fmt: skip
    assert floor is not None
    return Measured(sites, samples, floor, positions)


def readings(study: Study, bank: Bank, cells: int, candidates: int) -> list[Gain]:
    """Readings of held-out inputs at END, the heads in turn, from bank, decoder and prior together."""
    parts, task = study.parts, study.task
    queries = cells_of(study, cells)
    criterion = study.criterion.but(f"null:{SHARE:g}")
    epsilons = measured_epsilons(parts, queries, criterion, 0, bank=bank)
    criterion = criterion.but([epsilon.value for epsilon in epsilons])
    z_q = query_activations(study.probed, task, queries)
    near = bank_sample(bank, task, queries, z_q, criterion=criterion, most=len(bank.tokens))
    sources: list[Source] = [near, DecoderSource(needed_decoder(parts), candidates), PriorSource(task, candidates)]
    preimages = sampled_preimages(study.probed, task, queries, sources, criterion=criterion, seed=0)
    return [gain(preimage, *(source.name for source in sources)) for preimage in preimages]


def cells_of(study: Study, n: int) -> list[Query]:
    """Held-out inputs, each read at END of the next of the study's sites."""
    tokens = study.task.sample(n, generator=seeded(2), split="held-out")
    sites = needed_decoder(study.parts).config.sites
    return [study.query(study.task.decode(row), ROLE, sites[i % len(sites)]) for i, row in enumerate(tokens)]


def gain(preimage: Preimage, bank: str, decoder: str, prior: str) -> Gain:
    """Count distinct members by where they came from; the query's own input counts for nothing."""
    others = preimage.inside & ~is_row(preimage.tokens, preimage.query.tokens)
    from_ = {name: np.array([name in source for source in preimage.sources]) for name in (bank, decoder, prior)}
    new = others & ~from_[bank]
    return Gain(*(int(mask.sum()) for mask in (others & from_[bank], new & from_[decoder], new & from_[prior])))


def gain_rows(gains: list[Gain], candidates: int, inputs: int) -> list[Row]:
    """In how many cells there is more than in the bank, and how much more."""
    bank, by_decoder, by_prior = np.array(gains).T
    sizes = f"{len(gains)} queries at {ROLE}, the heads in turn, ε null:{SHARE:g} there, {candidates} draws each"
    return [
        {"name": f"{NAME}, cells with members that the bank of {inputs:,} lacks",
         "value": float((by_decoder > 0).mean()), "unit": "of cells", "target": TARGET_CELLS, "sense": "at least",
         "detail": f"{sizes}; with as many fresh inputs of the prior {(by_prior > 0).mean():.2f}; more found by the "
         f"decoder than by these in {(by_decoder > by_prior).mean():.2f}"},
        {"name": f"{NAME}, members more than the bank's, by the decoder", "value": float(by_decoder.mean()),
         "unit": "a cell", "detail": f"median {np.median(by_decoder):g}, {by_decoder.min()} to {by_decoder.max()}, "
         f"{by_decoder.sum():,} in all; the bank holds {bank.mean():.3g} a cell, fresh draws of the prior find "
         f"{by_prior.mean():.3g} more"},
    ]  # fmt: skip


def only_train() -> None:
    """Nothing else."""
    train(long_run(), long_run().folder)


if __name__ == "__main__":
    torch.set_num_threads(2)
    main(only_train, "real_decoder")
