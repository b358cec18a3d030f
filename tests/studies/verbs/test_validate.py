"""Validation on a small domain, whose proposals are drawn like the decoder's would be, but from the prior."""

from __future__ import annotations

import dataclasses
import json
import math

import numpy as np
import pytest
import torch

from inversionview.criterion import Criterion
from inversionview.errors import UserError
from inversionview.files import claimed
from inversionview.preimage.exact import exact_preimages
from inversionview.preimage.sampled import sampled_preimages
from inversionview.preimage.sources.proposals import PriorSource
from inversionview.reading.information import preimage_bits
from inversionview.results import estimators
from inversionview.results.estimates import Size
from inversionview.studies.settings import ValidateSettings
from inversionview.studies.verbs import validate as validating
from inversionview.studies.verbs.validate import Outcome, Truth, exact_sets, random_cells, validate
from tests.preimage.estimates.worlds import world
from tests.preimage.tiny import SITES, FewSums, decoder, few_sums, probed, query, study

ESTIMATORS = ["size", "reach", "recall of the decoder's draws", "at least", "unseen mass", "bits of a feature"]


def run(cells=10, n=500, task=None, **changes):
    criterion = Criterion.parse(changes.pop("epsilon", 0.5), changes.pop("metric", "euclidean"))
    progress = changes.pop("progress", None)
    settings = ValidateSettings(cells, n, **{"temperatures": (1.0,), "prior_share": 0.4} | changes)
    return validate(study(task).parts, criterion, settings, progress=progress).to_dict()


@pytest.fixture
def proposing(monkeypatch):
    """Sources that find members: the tiny decoder, which knows no sums, would find none."""

    def mixture(decoder, task, n, temperatures, prior_share):
        share = round(prior_share * n)
        return [PriorSource(task, n - share, name="decoder t=1"), PriorSource(task, share)]

    monkeypatch.setattr(validating, "mixture", mixture)


def test_cells_are_random_inputs_at_random_positions_and_the_sites_in_turn():
    task = few_sums()
    cells = random_cells(task, SITES, 200, "tiny", torch.Generator().manual_seed(1))
    assert [cell.site for cell in cells] == list(SITES) * 40
    assert cells == random_cells(task, SITES, 200, "tiny", torch.Generator().manual_seed(1))
    assert cells != random_cells(task, SITES, 200, "tiny", torch.Generator().manual_seed(2))
    assert {cell.role for cell in cells} == set(task.roles)
    for cell in cells:
        row = task.encode(cell.input)
        assert tuple(row.tolist()) == cell.tokens
        assert task.role(row, cell.position) == cell.role
        assert cell.token_strings == tuple(task.token_strings(row))
        assert cell.study == "tiny"


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_the_truth_is_the_exact_preimage(metric):
    task = few_sums(2.0)
    queries = random_cells(task, SITES, 10, "tiny", torch.Generator().manual_seed(0))
    truths = exact_sets(probed(), task, queries, Criterion.parse(0.4, metric))
    found = exact_preimages(probed(), task, queries, criterion=Criterion.parse(0.4, metric))
    for truth, one in zip(truths, found, strict=True):
        members = {task.decode(row) for row in task.rows[torch.from_numpy(truth.inside)]}
        assert members == set(one.inputs)
        assert truth.mass == pytest.approx(one.domain_mass)
    assert len({int(truth.inside.sum()) for truth in truths}) > 5


def test_the_document_of_the_contract(proposing):
    told = []
    found = run(progress=lambda stage, done, of, partial: told.append((stage, done, of)))
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert (found["schema"], found["study"], found["n"], found["seed"]) == (1, "tiny", 500, 0)
    assert (found["epsilon"], found["metric"], found["position_rule"]) == (0.5, "euclidean", "same")
    assert (found["temperatures"], found["prior_share"]) == ([1.0], 0.4)
    assert [news for news in dict.fromkeys(told) if news[0] == "checking cells"] == [
        ("checking cells", done, 10) for done in range(11)
    ]
    assert [row["estimator"] for row in found["estimators"]] == ESTIMATORS
    for row in found["estimators"]:
        pairs = found["marginals"]["pairs"] if row["estimator"] == "bits of a feature" else 10
        assert row["cells"] == pairs
        assert 0 <= row["coverage"] <= 1
        assert 0 <= row["answered"] <= row["cells"]
        assert row["coverage"] <= row["answered"] / row["cells"]
        assert row["kept"] == (row["coverage"] >= 0.9)
    for name in ("within_total_variation", "within_bits"):
        assert 0 <= found["marginals"][name] <= 1
    assert len(found["cells"]) == 10
    assert found["inside"]["least"] == min(cell["inside"] for cell in found["cells"])
    assert found["inside"]["median"] == np.median([cell["inside"] for cell in found["cells"]])
    assert found["effective_size"]["most"] == max(cell["effective_size"] for cell in found["cells"])
    assert run() == found
    assert run(seed=1)["cells"] != found["cells"]


def test_each_cell_is_its_sample_beside_its_truth(proposing):
    task, n = few_sums(), 500
    document = run()
    queries = random_cells(task, decoder().config.sites, 10, "tiny", torch.Generator().manual_seed(0))
    truths = exact_preimages(probed(), task, queries, criterion=Criterion.parse(0.5))
    sources = validating.mixture(decoder(), task, n, (1.0,), prior_share=0.4)
    for asked, truth, cell in zip(queries, truths, document["cells"], strict=True):
        [sample] = sampled_preimages(probed(), task, [asked], sources, criterion=Criterion.parse(0.5))
        assert (cell["input"], cell["at"], cell["site"]) == (asked.input, asked.role, asked.site)
        assert (cell["inside"], cell["found"]) == (len(truth), sample.n_inside)
        estimates, members = cell["estimates"], set(truth.inputs)
        size = estimates["size, bits"]
        assert size["truth"] == pytest.approx(estimators.size(truth).bits, abs=1e-5)
        assert size["value"] == estimators.size(sample).bits
        assert size["interval"] == pytest.approx(list(estimators.size(sample).bits_interval))
        assert estimates["reach, share found"]["truth"] == pytest.approx(len(set(sample.members)) / len(members))
        by_decoder = {
            text for text, times in zip(sample.inputs, sample.sources, strict=True) if "decoder t=1" in times
        } & members
        recall = estimates["recall of the decoder's draws"]
        assert recall["truth"] == pytest.approx(len(by_decoder) / len(members))
        assert recall["value"] == estimators.recall(sample).share
        assert estimates["at least, log2 inputs"]["truth"] == pytest.approx(math.log2(len(members)))
        unseen = estimates["unseen mass, Good-Turing"]
        assert unseen["value"] == estimators.unseen_mass(sample).share
        # Here the decoder draws from the prior, so that the truth is known; validation estimates it.
        assert unseen["truth"] == pytest.approx(1 - len(by_decoder) / len(members), abs=0.15)


def test_how_close_marginals_and_bits_are(proposing):
    task = few_sums()
    document = run(cells=3, n=400)
    features = task.features
    queries = random_cells(task, decoder().config.sites, 3, "tiny", torch.Generator().manual_seed(0))
    truths = exact_preimages(probed(), task, queries, criterion=Criterion.parse(0.5))
    sources = validating.mixture(decoder(), task, 400, (1.0,), prior_share=0.4)
    apart, off = [], []
    for asked, truth, cell in zip(queries, truths, document["cells"], strict=True):
        [sample] = sampled_preimages(probed(), task, [asked], sources, criterion=Criterion.parse(0.5))
        exact_bits = {bits.name: bits for bits in preimage_bits(truth, task)}
        bits = {bits.name: bits for bits in preimage_bits(sample, task)}
        largest = 0.0
        for name, feature in features.items():
            shares = []
            for one in (sample, truth):
                tokens = torch.from_numpy(one.tokens).long()
                codes = feature.compute(tokens, torch.from_numpy(one.positions).long()).numpy()
                weights = np.where(one.inside, one.weights, 0)
                shares.append([weights[codes == code].sum() for code in range(len(feature.values))])
            distance = np.abs(np.subtract(*shares)).sum() / 2
            largest = max(largest, distance)
            if exact_bits[name].of > 1e-9:
                apart.append(distance)
                off.append(abs(bits[name].bits - exact_bits[name].bits))
        assert cell["largest_total_variation"] == pytest.approx(largest, abs=1e-5)
    said = document["marginals"]
    assert said["pairs"] == len(apart)
    assert said["within_total_variation"] == pytest.approx(np.mean(np.array(apart) <= 0.05))
    assert said["within_bits"] == pytest.approx(np.mean(np.array(off) <= 0.1))
    assert said["median_total_variation"] == pytest.approx(np.median(apart), abs=1e-5)
    assert said["median_bits_error"] == pytest.approx(np.median(off), abs=1e-4)


def test_draws_of_the_domain_itself_are_told_well(proposing):
    """Under an uneven prior, too: whatever is estimated holds the truth nearly always, and comes close."""
    found = run(cells=20, n=1000, task=few_sums(2.0), seed=1)
    rows = {row["estimator"]: row for row in found["estimators"]}
    assert rows["unseen mass"]["coverage"] >= 0.6
    for name in ("size", "reach", "recall of the decoder's draws", "at least", "bits of a feature"):
        assert rows[name]["coverage"] >= 0.8, name
    assert rows["size"]["median_error"] < 0.2
    assert found["marginals"]["within_bits"] > 0.8


def test_an_estimator_that_abstains_fails(monkeypatch, proposing):
    silent = Size(None, None, None, None, 1.0, None, "too few", None)
    real, calls = validating.size, []

    def every_other(sample):
        calls.append(sample)
        return silent if len(calls) % 4 in (1, 2) else real(sample)  # asked twice a cell

    monkeypatch.setattr(validating, "size", every_other)
    row = run(cells=6)["estimators"][0]
    assert (row["estimator"], row["cells"], row["answered"]) == ("size", 6, 3)
    assert row["coverage"] <= 0.5
    assert not row["kept"]
    monkeypatch.setattr(validating, "size", lambda sample: silent)
    found = run(cells=2)
    row = found["estimators"][0]
    assert (row["answered"], row["coverage"], row["median_width"], row["median_error"]) == (0, 0.0, None, None)
    assert json.dumps(found, allow_nan=False)


def test_a_decoder_that_finds_nothing_fails_and_says_so():
    """The tiny decoder as it is: what takes its members abstains."""
    found = run(cells=2, n=40, prior_share=0.1)
    rows = {row["estimator"]: row for row in found["estimators"]}
    for name in ("at least", "unseen mass"):
        assert (rows[name]["answered"], rows[name]["coverage"], rows[name]["kept"]) == (0, 0.0, False)
    assert json.dumps(found, allow_nan=False)


def test_coverage_by_hand():
    outcomes = [
        Outcome("size, bits", 2.0, 2.1, (1.5, 2.5)),
        Outcome("size, bits", 2.0, 3.0, (2.5, 3.5)),
        Outcome("size, bits", 2.0, 2.0, (2.0, 2.0)),
        Outcome("size, bits", 2.0, None, None),
        Outcome("recall of the decoder's draws", 0.5, 0.4, (0.3, 0.6)),
        Outcome("at least, log2 inputs", 5.0, 4.0, (4.0, math.inf)),
    ]
    size, recall, least = validating._table(outcomes)
    assert dataclasses.asdict(size) == {
        "estimator": "size",
        "quantity": "bits",
        "cells": 4,
        "answered": 3,
        "coverage": 0.5,
        "median_width": 1.0,
        "median_error": pytest.approx(0.1),
        "unit": "bits",
        "kept": False,
    }
    assert (recall.quantity, recall.unit, recall.coverage, recall.kept) == ("share", "share", 1.0, True)
    assert (least.unit, least.median_width, least.kept) == ("bits", None, True)


def test_the_truth_for_good_turing_is_what_the_decoder_has_not_drawn():
    """Estimated from other draws than Good-Turing counts: right on average."""
    made_of, errors = world(2000, 400, (800, 300, 600)), []
    q = made_of.densities["decoder t=1"]
    for seed in range(60):
        sample = made_of.draw(seed)
        own = [int(text) for text, times in zip(sample.inputs, sample.sources, strict=True) if "decoder t=1" in times]
        unseen = made_of.inside.copy()
        unseen[own] = False
        errors.append(validating._missing_mass(sample) - q[unseen].sum() / q[made_of.inside].sum())
    assert abs(np.mean(errors)) < 0.02
    assert np.std(errors) < 0.06


def test_one_folder_of_cells_is_filled_by_one_validation_or_by_its_shares(tmp_path, proposing):
    with claimed(tmp_path / "kept", resume=True):
        with pytest.raises(UserError, match="kept is being written by another run"):
            run(2, keep=tmp_path / "kept")
        run(2, keep=tmp_path / "kept", part=(0, 2))
    assert len(run(2, keep=tmp_path / "kept")["cells"]) == 2
    assert not list((tmp_path / "kept").glob(".*"))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"cells": 0}, "validate at least 1 cell, not 0"),
        ({"n": 1}, "n is 1"),
        ({"prior_share": 1.0}, "the prior's share must be at least 0 and below 1"),
        ({"temperatures": (0.0,)}, "temperature must be above 0"),
    ],
)
def test_settings_that_cannot_be_are_refused(changes, words):
    with pytest.raises(UserError, match=words):
        run(**changes)


def test_a_study_validates_itself_by_its_own_settings(proposing):
    found = study(epsilon=0.3, metric="cosine").validate(2, 200, seed=4).to_dict()
    assert found == run(2, 200, epsilon=0.3, metric="cosine", temperatures=(1.0, 2.0), prior_share=0.4, seed=4)
    assert (found["epsilon"], found["metric"], found["temperatures"]) == (0.3, "cosine", [1.0, 2.0])


def test_a_task_that_cannot_enumerate_cannot_be_validated():
    endless = FewSums((100, 101))
    endless.size = None
    with pytest.raises(UserError, match="cannot be enumerated"):
        run(task=endless)


def test_the_truth_is_of_inputs_that_have_the_role():
    task = few_sums(1.0)
    [truth] = exact_sets(probed(), task, [query("500+990=1490", at="A4", site="x1.post")], Criterion.parse(2.0))
    assert isinstance(truth, Truth)
    assert not truth.inside[(task.position_of(task.rows, "A4") < 0).numpy()].any()
    assert 0 < truth.mass < 1
