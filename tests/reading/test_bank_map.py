"""Maps from a bank: against exact maps of the same domain, and of features that are known not to be known."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import torch

from inversionview import load_study
from inversionview.bank.making import make_bank
from inversionview.bank.plan import plan_bank
from inversionview.preimage.epsilon.null import bank_epsilon
from inversionview.reading.bank_map import bank_map, bank_rows
from inversionview.reading.information import entropy
from inversionview.reading.log_score import GROUPS, scored
from inversionview.studies.study import Study
from inversionview.tasks.addition.task import AdditionTask
from inversionview.tasks.base import Feature
from tests.preimage.tiny import probed

SITES = ("x0.post", "a0.1", "x1.post")
ROLES = ("F3", "=")


def dealt_out(tokens, positions):
    """A digit that is dealt out to each input by chance, and is the same whenever the input comes again."""
    number = (tokens.long() * torch.arange(1, tokens.shape[1] + 1) ** 3).sum(dim=1)
    return (number * 2654435761 % 2**32) // 7919 % 10


class Shuffled(AdditionTask):
    """Sums whose first digit has been dealt out anew, so that no activation tells it."""

    @property
    def features(self):
        known = super().features["F1"]

        return {"F1": known, "by chance": Feature("by chance", known.values, dealt_out, "nothing")}


@functools.cache
def bank(n: int = 1500):
    task = Shuffled()
    return make_bank(probed(), task, plan_bank(probed(), task, sites=SITES, roles=ROLES, n=n))


def made(epsilon: float | None = None, queries: int = 200, metric="euclidean"):
    task, sites = Shuffled(), [probed().site(site) for site in SITES]
    asked = {role: bank_rows(bank(), role, torch.arange(queries)) for role in ROLES}
    cells = [(site, role) for site in sites for role in ROLES]
    limits = {cell: one.epsilon for cell, one in bank_epsilon(bank(), cells, 0.02, metric=metric).items()}
    limits = limits if epsilon is None else dict.fromkeys(limits, epsilon)
    return bank_map(bank(), task, sites, asked, epsilon=limits, metric=metric), limits


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_a_feature_that_was_dealt_out_is_not_known(metric):
    cells, _ = made(metric=metric)
    shares = np.array([cell.scores[:, 1].mean() / cell.of[1] for cell in cells])
    by_entropy = np.array([cell.bits[:, 1].mean() / cell.of[1] for cell in cells])
    assert shares.mean() < 0.02
    assert np.mean(shares < 0.05) >= 0.95
    assert by_entropy.mean() > shares.mean()  # what few members do to an entropy


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "asked"),
    [
        ("addition", {"n": 2000, "at": ["="]}),
        ("ioi-small", {"n": 2000, "at": ["END"]}),
        ("facts-small", {"n": 2000, "at": ["END"]}),
        ("counting", {"queries": 20, "draws": 20_000, "draws_given": 100}),
        ("ioi-small", {"queries": 10, "at": ["END"]}),
    ],
    ids=["addition", "ioi-small", "facts-small", "counting by draws", "ioi-small whole"],
)
def test_nor_is_it_in_the_map_of_a_bundled_study(name, asked, monkeypatch):
    study = load_study(name)
    digits = tuple(map(str, range(10)))
    features = dict(study.task.features) | {"by chance": Feature("by chance", digits, dealt_out, "nothing")}
    monkeypatch.setattr(type(study.task), "features", property(lambda task: features))
    cells = [cell.bits["by chance"] for cell in study.map(**asked).cells if cell.bits]
    shares = np.array([bits.bits / bits.of for bits in cells])
    assert len(shares)
    assert shares.mean() < 0.02
    assert np.mean(shares < 0.05) >= 0.95


def test_members_are_the_other_inputs_within_epsilon():
    cells, limits = made(queries=20)
    for cell in cells:
        z = bank().activations(probed().site(cell.site), cell.role, torch.arange(1500))
        apart = (z[:20, None] - z[None]).norm(dim=2) / z[:20].norm(dim=1)[:, None]
        same = (bank().tokens[:20, None] == bank().tokens[None]).all(dim=2)
        members = ((apart <= limits[cell.site, cell.role]) & ~same).sum(dim=1).numpy()
        np.testing.assert_allclose(cell.effective, members, atol=1)
        np.testing.assert_allclose(2**-cell.size_bits, (members + 1) / 1500, rtol=0.2)


def test_a_wide_epsilon_tells_nothing_and_says_so_exactly():
    cells, _ = made(epsilon=1e3)
    for cell in cells:
        assert (np.abs(cell.scores) < 0.05).all()
        np.testing.assert_allclose(cell.size_bits, 0, atol=0.01)


def test_a_null_epsilon_of_a_bank_has_its_share_inside():
    cells, _ = made()
    for cell in cells:
        assert cell.effective.mean() / 1500 == pytest.approx(0.02, abs=0.006)


def world(k: int, queries: int, values: int, seed: int, known: bool):
    """Members' values drawn as the query's own is: from a distribution of the query's, or from the prior."""
    rng = np.random.default_rng(seed)
    prior = np.full(values, 1 / values)
    each = rng.dirichlet(prior * 3, queries) if known else np.tile(prior, (queries, 1))
    own = np.array([rng.choice(values, p=p) for p in each])
    members = np.array([rng.choice(values, size=k, p=p) for p in each])
    total = np.stack([np.bincount(row, minlength=values) for row in members]).astype(float)
    group = np.arange(k) % GROUPS
    same = np.stack([(members[:, group == g] == own[:, None]).sum(axis=1) for g in range(GROUPS)]).astype(float)
    there = np.stack([np.full(queries, float((group == g).sum())) for g in range(GROUPS)])
    said = scored(total, same, there, prior=prior, own_prior=prior[own])
    truth = float(np.mean(np.log2(each[np.arange(queries), own]) - np.log2(prior[own])))
    return said, truth, float(entropy(prior) - entropy(each).mean())


@pytest.mark.parametrize("k", [3, 10, 30, 100])
def test_a_score_is_no_more_than_what_is_there_to_know(k):
    worlds = [world(k, 100, 40, seed, True) for seed in range(20)]
    means, truths = [said.bits.mean() for said, *_ in worlds], [truth for _, truth, _ in worlds]
    assert np.mean(means) < np.mean(truths) + 0.02
    assert np.mean(means) > np.mean(truths) * (0.3 if k < 10 else 0.6 if k < 100 else 0.85)


@pytest.mark.parametrize("k", [1, 5, 30])
def test_of_what_is_not_known_the_score_is_0_or_below(k):
    means = [world(k, 100, 40, i, False)[0].bits.mean() for i in range(20)]
    assert np.mean(means) < 0.02
    assert np.mean(means) > -0.15


def test_the_interval_holds_what_more_members_would_give():
    held = []
    for seed in range(60):
        said, truth, _ = world(60, 150, 10, seed, True)
        low, high = said.interval
        held.append(low <= truth <= high)
    assert np.mean(held) >= 0.9


def test_without_members_the_score_is_0():
    said = scored(np.zeros((2, 3)), np.zeros((GROUPS, 2)), np.zeros((GROUPS, 2)), prior=np.full(3, 1 / 3),
                  own_prior=np.full(2, 1 / 3))  # fmt: skip
    assert (said.bits == 0).all()


def test_a_study_says_which_estimator_and_tells_a_feature_apart():
    study = Study(probed(), Shuffled(), epsilon="null:0.05", name="tiny", sites=SITES)
    document = study.map(n=600, at="=", sites=["a0-1.1", "x0-1"], by="F1", queries=150)
    assert (document.exact, document.estimator, document.bank, document.by) == (False, "log score", 600, "F1")
    assert document.ats == ("=",)
    for cell in document.cells:
        assert cell.by is not None
        assert sum(part.queries for part in cell.by) == cell.queries == 150
        for name, bits in cell.bits.items():
            parts = sum(part.queries * part.bits[name] for part in cell.by) / cell.queries
            assert parts == pytest.approx(bits.bits)
            assert bits.interval[0] <= bits.bits <= bits.interval[1]
    assert study.map(n=600, at="=", sites=["a0-1.1", "x0-1"], by="F1", queries=150) == document
    assert study.map(n=600, at="=", sites=["x1"], seed=1) != study.map(n=600, at="=", sites=["x1"])


def test_one_input_is_read_from_the_bank_too():
    study = Study(probed(), Shuffled(), epsilon="null:0.05", sites=SITES)
    [cell] = study.map("615+861=1476", n=600, at="=", sites=["x1"]).cells
    assert cell.queries == 1
    assert set(cell.bits) == {"F1", "by chance"}
