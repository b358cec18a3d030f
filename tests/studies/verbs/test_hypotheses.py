from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from inversionview.errors import UserError
from inversionview.reading.hypotheses import as_hypothesis, holm
from inversionview.results.hypotheses import Control
from inversionview.sites import Site
from inversionview.studies.verbs import hypotheses
from inversionview.tasks.addition.task import AdditionTask
from tests.preimage import tiny
from tests.preimage.tiny import probed

SITES = ("a0.0", "x0.post", "x1.post")


class FewSums(AdditionTask):
    """480 of the sums, some of three digits, those with an even first number twice as probable as the others."""

    a, b = torch.arange(590, 620), torch.arange(391, 407)
    size = len(a) * len(b)

    def _all(self):
        return self._from_numbers(self.a.repeat_interleave(len(self.b)), self.b.repeat(len(self.a)))

    def enumerate(self, block=65536):
        yield from torch.split(self._all(), min(block, 100))

    def _probability(self, tokens):
        even = self._number(tokens, 1) % 2 == 0
        return torch.where(even, 2.0, 1.0) / (1.5 * self.size)

    def sample(self, n, *, generator, split="all"):
        rows = self._all()
        return rows[torch.multinomial(self._probability(rows), n, replacement=True, generator=generator)]

    def contains(self, tokens):
        a, b = self._number(tokens, 1), self._number(tokens, 5)
        return super().contains(tokens) & torch.isin(a, self.a) & torch.isin(b, self.b)

    def log_prior(self, tokens):
        return torch.where(self.contains(tokens), self._probability(tokens).log(), -math.inf)


@pytest.fixture(scope="module")
def study():
    return tiny.study(FewSums())


def ask(study, text="600+395=995", at="=", site="x0.post"):
    return study.query(text, at, site)


def brute_force(task, query, z_q, epsilon, rule, *, but=None):
    """Tokens and prior of the members, with plain PyTorch; `but` is an input that does not count."""
    rows = torch.cat(list(task.enumerate()))
    z = probed().capture(rows, [query.site])[Site.parse(query.site)]
    away = (z - z_q).norm(dim=-1) / z_q.norm()
    places = task.eligible(rows) if rule == "any" else torch.zeros_like(rows, dtype=torch.bool)
    if rule == "same":
        at = task.position_of(rows, query.role)
        places[(at >= 0).nonzero()[:, 0], at[at >= 0]] = True
    inside = away.masked_fill(~places, math.inf).amin(dim=1) <= epsilon
    if but is not None:
        inside &= (rows[:, : len(but)] != torch.tensor(but)).any(dim=1)
    return rows[inside], task.log_prior(rows[inside]).exp()


def activation(query):
    return probed().capture(torch.tensor([query.tokens]), [query.site], query.position)[Site.parse(query.site)][0]


def share(rows, prior, holds):
    return float((prior * holds(rows)).sum() / prior.sum()) if len(rows) else None


@pytest.fixture(autouse=True)
def fewer_draws(monkeypatch):
    monkeypatch.setattr(hypotheses, "BASE_DRAWS", 1000)


@pytest.fixture
def looked_at(monkeypatch):
    """The queries and activations that were handed to the search, and its other arguments."""
    seen = []

    def watched(search):
        def wrapped(probed, task, queries, *args, **options):
            seen.append((list(queries), options["activations"], args, options))
            return search(probed, task, queries, *args, **options)

        return wrapped

    for name in ("scan_domain", "sampled_preimages"):
        monkeypatch.setattr(hypotheses, name, watched(getattr(hypotheses, name)))
    return seen


@pytest.mark.parametrize("rule", ["same", "any"])
@pytest.mark.parametrize(
    ("text", "at", "given", "holds"),
    [
        ("600+395=995", "=", "F2", lambda rows: rows[:, 2] == 0),
        ("610+400=1010", "A4", "F1 + S1 == 10", lambda rows: rows[:, 1] + rows[:, 5] == 10),
        ("610+400=1010", "A2", lambda text: text[6], lambda rows: rows[:, 7] == 0),
    ],
)
def test_exact_counts_are_those_of_brute_force(study, looked_at, text, at, given, holds, rule):
    query, epsilon = ask(study, text, at), 0.35
    [test] = study.test(query, given, exact=True, epsilon=epsilon, position_rule=rule, random_queries=12, seed=3)
    task, [(queries, activations, *_)] = study.task, looked_at
    domain, prior = brute_force(task, query, activation(query), 1e9, rule)
    assert test.base_rate == pytest.approx(share(domain, prior, holds), abs=1e-6)
    assert test.controls["no activation"] == Control(test.base_rate, len(domain))

    members, prior = brute_force(task, query, activation(query), epsilon, rule, but=query.tokens)
    assert 0 < len(members) < len(domain)
    assert test.members == test.effective_size == len(members)
    assert test.consistency == pytest.approx(share(members, prior, holds), abs=1e-6)
    assert test.interval == (test.consistency, test.consistency)
    assert test.lift == pytest.approx(test.consistency / test.base_rate)

    for name, row in (("begin token", 1), ("random direction", 2), ("random input", 3)):
        but = queries[row].tokens if name == "random input" else None
        members, prior = brute_force(task, query, activations[row], epsilon, rule, but=but)
        assert test.controls[name].members == len(members)
        assert test.controls[name].consistency == pytest.approx(share(members, prior, holds), abs=1e-6)
    assert activations[2].norm() == pytest.approx(activations[0].norm())
    begin = probed().capture(torch.tensor([[10]]), [query.site], 0)[Site.parse(query.site)][0]
    assert torch.equal(activations[1], begin)

    assert len(queries) == 15
    null = []
    for other in queries[3:]:
        assert not holds(torch.tensor([other.tokens]))
        assert (other.role, other.site) == (query.role, query.site)
        assert task.role(torch.tensor(other.tokens), other.position) == query.role
        null.append(share(*brute_force(task, other, activation(other), epsilon, rule, but=other.tokens), holds))
    null = [value for value in null if value is not None]
    assert test.random_queries == len(null)
    assert test.p_value == (1 + sum(value >= test.consistency - 1e-6 for value in null)) / (1 + len(null))
    assert (test.exact, test.seed, test.sites_tried, test.site, test.at) == (True, 3, 1, query.site, at)


def test_a_sample_finds_the_exact_share_within_its_interval(study):
    queries = [ask(study, site=site) for site in SITES[1:]]
    options = {"epsilon": 0.6, "random_queries": 1}
    exact = study.test(queries, "F2", exact=True, **options)
    misses, shares = 0, []
    for seed in range(3):
        sampled = study.test(queries, "F2", exact=False, n=500, seed=seed, **options)
        for test, truth in zip(sampled, exact, strict=True):
            assert not test.exact
            assert 3 < test.effective_size <= test.members < truth.members
            assert test.base_rate == pytest.approx(truth.base_rate, abs=0.05)
            misses += not test.interval[0] <= truth.consistency <= test.interval[1]
        shares.append([test.consistency for test in sampled])
    assert misses <= 2  # of six, which intervals that hold at 95% exceed twice in a thousand runs
    assert np.mean(shares, axis=0) == pytest.approx([truth.consistency for truth in exact], abs=0.15)


def test_a_site_that_says_it_is_told_from_one_that_does_not(study):
    """The embedding of a digit says that digit and nothing of another one."""
    query = study.query("600+395=995", "F2", "x0.pre")
    [says] = study.test(query, "F2", exact=True, epsilon=0.1)
    assert (says.consistency, says.p_value) == (1.0, 0.01)
    assert says.lift > 2
    assert says.controls["random input"].consistency == 0.0
    [silent] = study.test(query, "S3", exact=True, epsilon=0.1)
    assert silent.consistency == pytest.approx(silent.base_rate, abs=0.05)
    assert silent.p_value > 0.05


def test_several_sites_are_corrected_for_one_another_and_are_what_they_are_alone(study):
    queries = [ask(study, site=site) for site in SITES]
    options = {"exact": True, "epsilon": 0.3, "random_queries": 30}
    tests = study.test(queries, "F3", **options)
    assert [test.site for test in tests] == list(SITES)
    assert {test.sites_tried for test in tests} == {3}
    assert [test.p_corrected for test in tests] == holm([test.p_value for test in tests])
    for query, test in zip(queries, tests, strict=True):
        [alone] = study.test(query, "F3", **options)
        assert (alone.consistency, alone.p_value, alone.members) == (test.consistency, test.p_value, test.members)
        assert alone.p_corrected == alone.p_value


def test_what_confirms_was_not_drawn_to_find(study, looked_at):
    query = ask(study)
    study.test(query, "F2", exact=False, n=50, random_queries=1, seed=0)
    [(_, activations, (sources,), options)] = looked_at
    [confirming, *_] = hypotheses.sampled_preimages(
        study.probed,
        study.task,
        [query],
        sources,
        **options | {"activations": activations[:1], "criterion": options["criterion"].but([0.5])},
    )
    drawn = {source.name for source in sources}
    assert "prior" in drawn
    for seed in range(2):
        found = study.preimage(query, n=50, seed=seed, colors=False)
        assert options["seed"] != found.seed
        assert not np.array_equal(np.sort(found.inputs), np.sort(confirming.inputs))


def test_the_same_seed_gives_the_same_result_and_another_one_another(study):
    query = ask(study)
    once, again, other = (
        study.test(query, "F2", exact=False, n=60, random_queries=3, epsilon=0.4, seed=seed)[0].to_dict()
        for seed in (1, 1, 2)
    )
    assert once == again
    assert once | {"seed": 2} != other


def test_memory_does_not_grow_with_the_random_queries_and_grouping_changes_nothing(study, looked_at, monkeypatch):
    query, options = ask(study), {"exact": False, "n": 60, "random_queries": 4, "epsilon": 0.4}
    whole = study.test(query, "F2", **options)
    monkeypatch.setattr(hypotheses, "_DRAWS_TOGETHER", 130)
    assert study.test(query, "F2", **options) == whole
    assert [len(queries) for queries, *_ in looked_at] == [7, 2, 2, 2, 1]


@pytest.mark.parametrize("exact", [True, False])
def test_without_another_member_there_is_a_reason_and_no_number(study, exact):
    [test] = study.test(ask(study), "F2", exact=exact, epsilon=1e-7, n=20, random_queries=5)
    assert (test.consistency, test.interval, test.lift, test.p_value, test.p_corrected) == (None,) * 5
    assert (test.members, test.random_queries) == (0, 0)
    assert "no input but the query's own" in test.why_not if exact else "among 20 draws" in test.why_not
    assert test.controls["begin token"] == Control(None, 0)
    assert test.controls["random input"] == Control(None, 0)
    assert test.controls["no activation"].members == (480 if exact else 20)


def test_a_study_without_a_decoder_is_counted_or_drawn_from_the_prior():
    study = tiny.study(FewSums(), with_decoder=False)
    [test] = study.test(ask(study), "F2", random_queries=2)
    assert test.exact
    [drawn] = study.test(ask(study), "F2", exact=False, random_queries=2)
    assert not drawn.exact


def test_under_same_the_base_rate_is_that_of_inputs_that_have_the_role(study):
    query = ask(study, "610+400=1010", "A4")
    [same] = study.test(query, "F1", exact=True, random_queries=2)
    [drawn] = study.test(query, "F1", exact=False, n=50, random_queries=2)
    long = [row for row in torch.cat(list(study.task.enumerate())) if row[12] < 10]
    prior = study.task.log_prior(torch.stack(long)).exp()
    assert same.base_rate == pytest.approx(share(torch.stack(long), prior, lambda rows: rows[:, 1] == 6), abs=1e-6)
    assert drawn.base_rate == pytest.approx(same.base_rate, abs=0.05)
    with pytest.raises(UserError, match=r"constant, .*'four digits = yes' holds"):
        study.test(query, "four digits", exact=True)
    [test] = study.test(query, "four digits", exact=True, position_rule="any", random_queries=2)
    assert (test.random_queries, test.p_value) == (0, 1.0)  # under `any`, inputs at that role all hold


def test_the_errors_of_a_function_reach_the_user(study):
    with pytest.raises(UserError, match=r"fails on the input '\d+\+\d+=\d+': ZeroDivisionError: "):
        study.test(ask(study), lambda text: 1 // (int(text[4:7]) - 400), exact=True)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"n": 0}, "n must be at least 1"),
        ({"random_queries": 0}, "random_queries must be at least 1"),
        ({"epsilon": 0}, "epsilon must be a number above 0"),
        ({"metric": "taxicab"}, "unknown metric"),
        ({"position_rule": "here"}, "unknown position rule"),
        ({"hypothesis": "F9"}, "no feature 'F9'"),
        ({"hypothesis": "F1 > 0"}, "F1 > 0 is constant"),
        ({"hypothesis": "S1 - S1"}, "constant"),
        ({"queries": []}, "at least one query"),
    ],
)
def test_mistakes(study, change, told):
    arguments = {"queries": ask(study), "hypothesis": "F2"} | change
    with pytest.raises(UserError, match=told):
        study.test(**arguments)


def test_queries_that_are_no_family(study):
    with pytest.raises(UserError, match="one input at one position"):
        study.test([ask(study), ask(study, at="A1")], "F2")
    with pytest.raises(UserError, match="one input at one position"):
        study.test([ask(study), ask(study, "601+395=996")], "F2")
    with pytest.raises(UserError, match="asked twice"):
        study.test([ask(study), ask(study)], "F2")


def test_exact_needs_a_domain_that_can_be_enumerated(study, monkeypatch):
    monkeypatch.setattr(FewSums, "size", None)
    with pytest.raises(UserError, match="cannot be enumerated"):
        study.test(ask(study), "F2", exact=True)


def test_the_hypothesis_is_about_the_query_that_was_asked(study):
    assert study.test(ask(study), "F2", n=20, random_queries=1)[0].name == "F2 = 0"
    assert as_hypothesis(study.task, "F2", ask(study, "617+395=1012")).name == "F2 = 1"
