"""What is said of a preimage as a whole: every number is what the estimators give, and JSON can hold it."""

from __future__ import annotations

import dataclasses
import functools
import json
import math

import numpy as np
import pytest

from inversionview.criterion import Criterion
from inversionview.preimage.exact import exact_preimages
from inversionview.preimage.sampled import sampled_preimages
from inversionview.preimage.sources.proposals import PriorSource
from inversionview.results import convert, estimators
from inversionview.results.estimates import FeatureBits
from inversionview.results.estimators import query_shares
from inversionview.results.preimage import Preimage
from tests.preimage.tiny import Fixed, few_sums, probed, query
from tests.results.preimages import unknown


def size_document(preimage):
    return convert.plain(estimators.size(preimage))


def completeness_document(preimage):
    return convert.plain(estimators.completeness(preimage))


def bits_documents(preimage):
    return convert.plain(estimators.informative_bits(preimage.bits))


def source_documents(preimage):
    return convert.plain(estimators.source_draws(preimage))


GIVEN = few_sums().rows[400:700]


@functools.cache
def sampled(text: str = "500+990=1490", epsilon: float = 0.5) -> Preimage:
    """From two sources whose density is known, and one whose is not."""
    task = few_sums()
    sources = [PriorSource(task, 500, name="decoder t=1"), PriorSource(task, 300), Fixed(GIVEN, "given")]
    [found] = sampled_preimages(
        probed(), task, [query(text, site="x0.post")], sources, criterion=Criterion.parse(epsilon)
    )
    return found


@functools.cache
def exact(text: str = "500+990=1490", epsilon: float = 0.5) -> Preimage:
    [found] = exact_preimages(probed(), few_sums(), [query(text, site="x0.post")], criterion=Criterion.parse(epsilon))
    return found


def in_bits(preimage: Preimage) -> Preimage:
    known = (
        FeatureBits("F1", -0.1, 3.0, math.inf, (-0.2, 0.1)),
        FeatureBits("constant", 0.0, 0.0, 0.0, None),
        FeatureBits("S1", 1.5, 3.0, 0.4, (1.4, 1.6)),
        FeatureBits("C1", 0.9, 1.0, 0.4, None),
    )
    return dataclasses.replace(preimage, bits=known)


PREIMAGES = {
    "sampled": sampled,
    "exact": exact,
    "none inside": lambda: sampled("615+861=1476", 1e-6),
    "exactly none": lambda: exact("615+861=1476", 1e-6),
    "unknown densities": unknown,
}


@pytest.mark.parametrize("name", PREIMAGES)
def test_documents_are_json_without_nan(name):
    found = in_bits(PREIMAGES[name]())
    documents = {
        "size": size_document(found),
        "completeness": completeness_document(found),
        "bits": bits_documents(found),
        "sources": source_documents(found),
        "shares": list(query_shares(found)),
    }
    assert json.loads(json.dumps(documents, allow_nan=False)) == documents
    whole = found.to_dict()
    assert json.loads(json.dumps(whole, allow_nan=False)) == whole
    for key in ("size", "completeness", "bits", "sources"):
        assert whole[key] == documents[key]
    assert whole["inside"] == found.n_inside


def test_the_size_is_the_estimate_and_its_trust():
    found, size = estimators.size(sampled()), size_document(sampled())
    assert size == {
        "inputs": found.inputs,
        "interval": list(found.interval),
        "log2_domain_over_preimage": found.bits,
        "bits_interval": list(found.bits_interval),
        "effective_size": found.effective_size,
        "pareto_k": found.pareto_k,
        "why_not": None,
        "domain": 1156,
    }
    assert size["inputs"] == pytest.approx(len(exact()), rel=0.1)


def test_an_exact_size_has_no_interval():
    size = size_document(exact())
    assert (size["inputs"], size["interval"], size["bits_interval"]) == (len(exact()), None, None)
    assert size["log2_domain_over_preimage"] == pytest.approx(math.log2(1156 / len(exact())), abs=1e-5)
    none = size_document(exact("615+861=1476", 1e-6))
    assert (none["inputs"], none["log2_domain_over_preimage"]) == (0, None)
    assert none["why_not"] == "no input is inside ε"


def test_completeness_has_every_estimate_with_its_interval():
    found, said = sampled(), completeness_document(sampled())
    assert (said["reach"], said["interval"]) == (estimators.reach(found).share, list(estimators.reach(found)[1]))
    unseen, recall = estimators.unseen_mass(found), estimators.recall(found)
    assert said["unseen"] == {"mass": unseen.share, "interval": list(unseen.interval)}
    assert said["recall"] == {"share": recall.share, "interval": list(recall.interval), "held_out": recall.n}
    assert said["at_least"] == {"inputs": estimators.at_least(found).bound, "interval": None}
    assert said["why_not"] is None


def test_completeness_leaves_out_what_is_not_known_and_says_why():
    said = completeness_document(unknown())
    why = said.pop("why_not")
    assert set(said.values()) == {None}
    assert why == "no source of these draws has a known density"
    assert completeness_document(sampled("615+861=1476", 1e-6))["why_not"] == "no draw is inside ε"
    assert completeness_document(exact()) == {
        "reach": 1.0, "interval": None, "unseen": None, "recall": None, "at_least": None, "why_not": None
    }  # fmt: skip


def test_bits_are_those_of_which_most_is_known_first_without_constants():
    found = bits_documents(in_bits(sampled()))
    assert [bits["name"] for bits in found] == ["C1", "S1", "F1"]
    words = {"value": "", "about": "", "left": []}
    assert found[1] == {"name": "S1", "bits": 1.5, "of": 3.0, "divergence": 0.4, "interval": [1.4, 1.6], **words}
    assert found[0]["interval"] is None
    assert found[2]["divergence"] is None  # infinite
    assert bits_documents(sampled()) == []


def test_each_source_tells_what_it_contributed():
    found = sampled()
    by_hand = {}
    for name in ("decoder t=1", "given", "prior"):
        members = {
            text
            for text, times, inside in zip(found.inputs, found.sources, found.inside, strict=True)
            if inside and name in times
        }
        by_hand[name] = members
    contributed = source_documents(found)
    assert [source["name"] for source in contributed] == ["decoder t=1", "given", "prior"]
    assert [source["drawn"] for source in contributed] == [500, 300, 300]
    for source in contributed:
        name = source["name"]
        others = set().union(*(members for other, members in by_hand.items() if other != name))
        assert source["distinct_inside"] == len(by_hand[name])
        assert source["only"] == len(by_hand[name] - others) > 0
        times = [times.get(name, 0) for times, inside in zip(found.sources, found.inside, strict=True) if inside]
        assert source["inside"] == sum(times)
    assert contributed[0]["inside"] > contributed[0]["distinct_inside"]
    assert contributed[1]["inside"] == contributed[1]["distinct_inside"]
    assert source_documents(exact()) == []


def test_shares_are_of_members_that_have_the_querys_token():
    found = exact()
    shares = query_shares(found)
    assert len(shares) == len(found.query.tokens) == 14
    typed = "B" + found.query.input + "E"
    texts = ["B" + text + "E" for text in found.inputs]
    expected = [np.mean([i < len(text) and text[i] == char for text in texts]) for i, char in enumerate(typed)]
    assert shares == pytest.approx(expected)
    assert 0 < min(shares) < max(shares) == 1
    assert query_shares(sampled("615+861=1476", 1e-6)) == (0.0,) * 14
    narrow = dataclasses.replace(found, tokens=found.tokens[:, :4])
    assert query_shares(narrow) == pytest.approx(expected[:4] + [0] * 10)
