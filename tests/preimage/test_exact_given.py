"""Exact preimages of a part of counting, against every permutation run one by one; and what is drawn beside them."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
import torch

from inversionview.criterion import Criterion
from inversionview.preimage.exact import exact_preimages
from inversionview.preimage.sampled import sampled_preimages
from inversionview.preimage.sources.proposals import PriorSource, given_sources
from inversionview.reading.columns import with_features
from inversionview.reading.information import preimage_bits
from inversionview.report.answer import answer_of
from inversionview.report.reading import settings
from inversionview.results.estimators import size
from inversionview.tasks.base import restricted
from tests.preimage.counting import counting_probed, counting_query, counting_task

TEXT = "babcbab|b:4"
PLACES = ((":", "x1.post"), ("letter", "a0.0"), ("|", "x0.post"), ("3", "x1.post"))


def part():
    return restricted(counting_task(), counting_task().encode(TEXT), "counts")


def orders() -> list[str]:
    return sorted({"".join(order) + "|b:4" for order in itertools.permutations("babcbab")})


@pytest.mark.parametrize("rule", ["same", "any"])
@pytest.mark.parametrize(("at", "site"), PLACES)
def test_the_preimage_is_what_every_order_gives_when_run_alone(at, site, rule):
    asked = counting_query(TEXT, at, site)
    [found] = exact_preimages(counting_probed(), part(), [asked], criterion=Criterion.parse(0.3, position_rule=rule))
    [z_q] = counting_probed().capture(torch.tensor([asked.tokens]), [site], asked.position).values()
    near = {}
    for text in orders():
        [z] = counting_probed().capture(counting_task().encode(text)[None], [site]).values()
        apart = (z[0] - z_q).norm(dim=1) / z_q.norm()
        near[text] = apart[asked.position].item() if rule == "same" else apart[1:-1].min().item()
    inside = {text for text, distance in near.items() if distance <= 0.3 - 1e-5}
    maybe = {text for text, distance in near.items() if distance <= 0.3 + 1e-5}
    assert inside <= set(found.members) <= maybe
    assert len(inside) > 0
    assert len(near) == found.domain_size == 105
    for text, distance in zip(found.inputs, found.distances, strict=True):
        assert distance == pytest.approx(near[text], abs=1e-5)


def test_bits_are_over_the_orders_alone():
    task, asked = part(), counting_query(TEXT, "|", "x0.post")
    [found] = exact_preimages(counting_probed(), task, [asked], criterion=Criterion.parse(0.3))
    known = {bits.name: bits for bits in preimage_bits(found, task)}
    for name in ("letter", "count", "length", "others", "position", "token"):
        assert known[name].of == pytest.approx(0, abs=1e-9)

    def entropy(texts) -> float:
        counts = np.array([[text[0] for text in texts].count(c) for c in "abc"])
        share = counts[counts > 0] / counts.sum()
        return -(share * np.log2(share)).sum()

    assert known["first"].of == pytest.approx(entropy(orders()))
    assert known["first"].bits == pytest.approx(entropy(orders()) - entropy(found.members))
    assert size(found).inputs == found.n_inside


def test_a_reading_says_which_part_is_exact():
    [found] = exact_preimages(
        counting_probed(), part(), [counting_query(TEXT, ":", "x1.post")], criterion=Criterion.parse(0.3)
    )
    words = counting_task().restrictions["counts"]
    found = with_features(dataclasses.replace(found, given=words), part(), ["count", "first"])
    assert answer_of(found.to_reading()).members == f"exactly {found.n_inside} of 105 inputs {words}; every one was run"
    assert ("domain", f"105 inputs {words}") in settings(found.to_reading())
    assert found.to_dict(2)["given"] == words
    assert {sample["features"]["count"] for sample in found.to_dict()["samples"]} == {"4"}


def test_draws_given_what_is_shared_estimate_the_mass_of_what_is_known_exactly():
    """Of members that share letters, counts and question, the exact preimage of the part knows how many there are."""
    asked, task = counting_query(TEXT, ":", "x1.post"), counting_task()
    [exact] = exact_preimages(counting_probed(), part(), [asked], criterion=Criterion.parse(0.3))
    sources = [PriorSource(task, 200), *given_sources(task, "given", 1800)]
    [found] = sampled_preimages(counting_probed(), task, [asked], sources, criterion=Criterion.parse(0.3))
    same = found.inside & part().contains(torch.from_numpy(found.tokens)).numpy()
    missed = np.ones(same.sum())
    for one, densities in zip(found.components, found.log_densities[:, same], strict=True):
        missed *= (1 - np.exp(densities)) ** one.n
    mass = (np.exp(found.log_prior[same]) / (1 - missed)).sum()
    assert mass == pytest.approx(exact.n_inside / 105 * np.exp(task.log_mass("counts", task.encode(TEXT))), rel=0.25)
    assert set(np.array(found.inputs)[same]) <= set(exact.members)
    assert found.n_inside > same.sum(), "others are members too"
