"""Readings without a decoder: from a bank, against a bank's own activations and the exact preimage."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from inversionview.errors import UserError
from inversionview.results.estimators import size
from inversionview.studies.banks import bank_for
from inversionview.studies.study import Study
from tests.preimage.tiny import Endless, first_input, probed

INPUTS = 4000


@pytest.fixture(scope="module")
def study() -> Study:
    return Study(probed(), Endless(), epsilon="null:0.05", name="tiny", sites=["x0.post", "x1.post"])


def test_members_are_all_of_the_bank_within_epsilon_and_each_was_run(study):
    query = study.query(first_input(study), "=", "x1.post")
    preimage = study.preimage(query)
    bank = bank_for(study.parts, [probed().site("x1.post")], ["="])
    assert {source for row in preimage.sources for source in row} == {"bank"}
    z_q = probed().capture(torch.tensor([query.tokens]), ["x1.post"], query.position)
    [z_q] = z_q.values()
    z = bank.activations(probed().site("x1.post"), "=", torch.arange(INPUTS))
    near = ((z - z_q).norm(dim=1) / z_q.norm()).double() <= preimage.epsilon
    inside = [dict(row)["bank"] for row, is_in in zip(preimage.sources, preimage.inside, strict=True) if is_in]
    assert sum(inside) == int(near.sum()) > 10


def test_its_size_is_the_share_of_the_bank_with_an_interval(study):
    preimage = study.preimage(study.query(first_input(study), "=", "x1.post"))
    said = size(preimage)
    inside = sum(dict(row)["bank"] for row, is_in in zip(preimage.sources, preimage.inside, strict=True) if is_in)
    assert [(part.source, part.n) for part in preimage.components] == [("bank", INPUTS)]
    assert said.bits == pytest.approx(math.log2(INPUTS / inside), abs=0.2)
    assert said.bits_interval.low < said.bits < said.bits_interval.high


def test_bits_are_scores_with_intervals(study):
    preimage = study.preimage(study.query(first_input(study), "=", "x1.post"))
    [cell] = study.map(first_input(study), at="=", sites=["x1.post"], epsilon=preimage.epsilon).cells
    assert {bits.name for bits in preimage.bits} == set(cell.bits)
    for bits in preimage.bits:
        assert bits.bits == pytest.approx(cell.bits[bits.name].bits)
        assert bits.interval[0] <= bits.bits <= bits.interval[1]


def test_a_wide_epsilon_is_read_from_a_part_of_the_bank(study):
    preimage = study.preimage(study.query(first_input(study), "=", "x1.post"), n=50, epsilon=100.0)
    [part] = preimage.components
    assert part.n == 50
    assert preimage.n_inside <= 50
    assert size(preimage).bits == pytest.approx(0, abs=0.1)


def test_other_sources_stand_beside_the_bank(study):
    preimage = study.preimage(study.query(first_input(study), "=", "x1.post"), n=40, also=["edits"])
    assert {source for row in preimage.sources for source in row} >= {"bank"}
    assert any(source.startswith("edits") for row in preimage.sources for source in row)


def test_a_bank_in_a_folder_is_taken_and_others_are_refused(study, tmp_path):
    study.bank("=", sites=["x1.post"], n=300, folder=tmp_path / "bank")
    query = study.query(first_input(study), "=", "x1.post")
    assert [part.n for part in study.preimage(query, bank=tmp_path / "bank").components] == [300]
    with pytest.raises(UserError, match=r"does not hold x0\.post"):
        study.preimage(study.query(first_input(study), "=", "x0.post"), bank=tmp_path / "bank")
    with pytest.raises(UserError, match="position rule same"):
        study.preimage(query, bank=tmp_path / "bank", position_rule="any")


def test_the_same_seed_gives_the_same_reading(study):
    query = study.query(first_input(study), "=", "x1.post")
    one, other = study.preimage(query), study.preimage(query)
    np.testing.assert_array_equal(one.tokens, other.tokens)
    np.testing.assert_array_equal(one.distances, other.distances)


def test_distances_from_the_bank_are_those_of_running_its_inputs_again(study):
    query = study.query(first_input(study), "=", "x1.post")
    preimage = study.preimage(query)
    [z_q] = probed().capture(torch.tensor([query.tokens]), ["x1.post"], query.position).values()
    [z] = probed().capture(torch.from_numpy(preimage.tokens), ["x1.post"], query.position).values()
    again = (z - z_q).norm(dim=1) / z_q.norm()
    np.testing.assert_allclose(preimage.distances, again.double(), atol=1e-5)
    assert (preimage.positions == query.position).all()
    at_others = np.delete(preimage.token_distances, query.position, axis=1)
    assert np.isnan(at_others).all()


def test_a_reading_runs_nothing_but_its_query(study, monkeypatch):
    query = study.query(first_input(study), "=", "x1.post")
    study.preimage(query)  # the bank
    run = []
    capture = type(probed()).capture

    def counted(self, tokens, *args, **options):
        run.append(len(tokens))
        return capture(self, tokens, *args, **options)

    monkeypatch.setattr(type(probed()), "capture", counted)
    study.preimage(query)
    assert sum(run) <= 4
