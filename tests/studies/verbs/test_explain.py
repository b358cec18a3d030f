"""Explanations of studies: exact, from a bank and from draws; scores that hold, and nothing where there is nothing."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from inversionview.cli.program import main
from inversionview.criterion import Criterion
from inversionview.errors import UserError
from inversionview.reading.conditions import checked_condition, holds
from inversionview.reading.explanation.scores import detection_scores
from inversionview.results.explanation import CONSISTENCY, DETECTION, GENERATION, OTHERS, Score
from inversionview.studies.settings import ExplainSettings
from inversionview.studies.study import Study, load_study
from inversionview.studies.verbs import explain as verb
from inversionview.studies.verbs import explain_inputs
from inversionview.studies.verbs.explain_by_features import NOTHING
from inversionview.studies.verbs.explain_scores import why_nothing

ASKED = "615+861=1476"
IOI = "When Alice saw Paul in the garden, Paul gave the book to Alice."


FACT = "The currency of Japan is the yen."


@pytest.fixture(scope="module")
def ioi():
    return load_study("ioi-small", device="cpu")


@pytest.fixture(scope="module")
def facts():
    return load_study("facts-small", device="cpu")


def test_it_says_what_a_head_of_addition_adds(capsys):
    assert main(["explain", "addition", ASKED, "--at", "=", "--site", "a0.2", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["schema"] == 1
    assert document["exact"] is True
    [found] = document["explanations"]
    assert "F1 + S1 == 14" in found["expression"]
    assert found["found_by"] == "features"
    scores = found["scores"]
    assert scores["generation"]["value"] > 0.95 > 0.1 > scores["generation"]["floor"]
    assert scores["detection"]["value"] > 0.95
    assert scores["detection"]["floor"] == 0.5
    assert scores["generation_other_activations"]["value"] < 0.2


def test_exact_scores_are_those_of_all_inputs(facts):
    query = facts.query(FACT, at="END", site="m0")
    one = facts.explain(query, epsilon=1.0).best
    exact = facts.exact_preimage(query, epsilon=1.0)
    tokens, positions = torch.from_numpy(exact.tokens).long(), torch.from_numpy(exact.positions).long()
    held = holds(facts.task, one.expression, tokens, positions).numpy()
    own = (exact.tokens[:, : len(query.tokens)] == np.array(query.tokens)).all(axis=1)
    weights = np.exp(exact.log_prior)[~own]
    assert one.scores[CONSISTENCY].value == pytest.approx((weights * held[~own]).sum() / weights.sum(), abs=1e-6)
    fitting = everything = 0.0
    for block in facts.task.enumerate():
        at = facts.task.position_of(block, "END")
        rows = at >= 0
        prior = facts.task.log_prior(block[rows]).double().exp()
        everything += float(prior.sum())
        fitting += float(prior[holds(facts.task, one.expression, block[rows], at[rows])].sum())
    member_mass = np.exp(exact.log_prior.astype(np.float64))
    inside, inside_and_fitting = member_mass[~own].sum(), (member_mass * held)[~own].sum()
    own_mass = member_mass[own].sum()
    generation = one.scores[GENERATION]
    assert generation.value == pytest.approx(inside_and_fitting / (fitting - own_mass), rel=1e-4)
    assert generation.floor == pytest.approx(inside / (everything - own_mass), rel=1e-4)
    assert one.scores[CONSISTENCY].floor == pytest.approx((fitting - own_mass) / (everything - own_mass), rel=1e-4)


@pytest.mark.parametrize("has_decoder", [True, False])
def test_a_sample_says_the_same_within_its_intervals(facts, has_decoder):
    study = facts if has_decoder else Study(facts.probed, facts.task, epsilon=0.1)
    query = facts.query(FACT, at="END", site="m0")
    sampled = study.explain(query, exact=False, epsilon=1.0).best
    assert not sampled.says_nothing
    wanted = scores_of_all(facts, query, sampled.expression)
    for name, truth in wanted.items():
        low, high = sampled.scores[name].interval
        assert low - 0.02 <= truth <= high + 0.02, name


def scores_of_all(study, query, expression):
    """Exact scores of an expression, counted by the code for exact ones."""
    settings = ExplainSettings(exact=True)
    criterion = study.criterion.but(1.0)
    [look] = verb.looks(study.parts, [query], criterion, settings)
    counted = explain_inputs.counted(checked_condition(study.task, expression), look)
    of_words = detection_scores(counted.shares, counted.base, exact=True)
    return {GENERATION: counted.generation.value, DETECTION: of_words[DETECTION].value}


def test_the_same_seed_gives_the_same_words(ioi):
    query = ioi.query(IOI, at="END", site="m1")
    one, again, other = (ioi.explain(query, exact=False, n=1500, seed=seed).to_dict() for seed in (0, 0, 1))
    assert one == again
    assert one != other


def test_an_activation_that_says_nothing_is_said_to(monkeypatch, ioi):
    real = explain_inputs.all_distances

    def shuffled(bank, query, z_q, metric):
        distances = real(bank, query, z_q, metric)
        return distances[torch.randperm(len(distances), generator=torch.Generator().manual_seed(query.tokens[3]))]

    monkeypatch.setattr(explain_inputs, "all_distances", shuffled)
    study = Study(ioi.probed, ioi.task, epsilon=0.1)
    found = study.explain(ioi.query(IOI, at="END", site="a1.3"), exact=False).best
    assert found.words == NOTHING
    assert found.expression is None
    assert found.says_nothing
    assert found.scores[DETECTION].interval[0] <= 0.55


def test_words_that_fit_any_activation_say_nothing():
    detection = Score(0.9, (0.88, 0.92), 0.5, 100)
    good = {GENERATION: Score(0.5, (0.4, 0.6), 0.1, 200), OTHERS: Score(0.1, (0, 0.2), None, 200)}
    assert why_nothing(detection, good) == ""
    as_others = good | {OTHERS: Score(0.45, (0.3, 0.5), None, 200)}
    assert "other activations" in why_nothing(detection, as_others)
    assert "chance" in why_nothing(Score(0.6, (0.54, 0.7), 0.5, 10), good)
    assert why_nothing(detection, good | {CONSISTENCY: Score(1.0, (0.9, 1.0), 0.95, 200)}) == "95% of all inputs fit it"
    assert why_nothing(detection, good | {CONSISTENCY: Score(1.0, (0.9, 1.0), 0.85, 200)}) == ""
    all_members = good | {GENERATION: Score(1.0, (1.0, 1.0), 0.95, 200)}
    assert why_nothing(detection, all_members) == "95% of all inputs are members"


def test_activations_are_compared_with_all_inputs_in_parts_that_memory_bears(facts, monkeypatch):
    settings = {"epsilon": 1.0, "queries": 4, "written": 20}
    at_once = facts.explain_sites(["m0"], "END", **settings).to_dict()
    monkeypatch.setattr(verb, "MOST_DISTANCES", 2 * facts.task.size)
    passes, real = [], verb.exact_preimages
    monkeypatch.setattr(
        verb, "exact_preimages", lambda *given, **how: passes.append(len(given[2])) or real(*given, **how)
    )
    assert facts.explain_sites(["m0"], "END", **settings).to_dict() == at_once
    assert passes == [2, 2]


def test_where_nearly_everything_is_a_member_there_is_no_number(facts):
    found = facts.explain(facts.query(FACT, at="END", site="m0"), epsilon=50.0).best
    assert found.scores == {}
    assert "nearly all inputs are members, too few others to score: take a smaller epsilon" in found.says_nothing


def test_too_few_members_give_no_number(facts):
    found = facts.explain(facts.query(FACT, at="END", site="a0.1")).best
    assert found.scores == {}
    assert "too few to score: take a larger epsilon" in found.says_nothing


def test_a_site_gets_a_sentence(facts, capsys):
    study = Study(facts.probed, facts.task, epsilon=1.0)
    found = study.explain_sites(["m0", "x1.post"], "END", queries=5, exact=False, n=2000, written=50)
    assert [one.site for one in found.sites] == ["m0", "x1.post"]
    for one in found.sites:
        assert one.words.startswith("tells ")
        assert one.words.endswith(f"of {one.queries} activations")
        assert sum(told.share for told in one.told) == pytest.approx(1)
        assert found.to_dict()["sites"][0]["site"] == "m0"
    arguments = ["--sites", "m0", "--at", "END", "--queries", "1", "--sampled", "-n", "300"]
    assert main(["explain", "ioi-small", *arguments]) == 0
    assert "tells " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["addition"], "give an input and --site, or --sites and --at"),
        (["addition", ASKED, "--site", "a0.2", "--sites", "heads"], "give an input and --site, or --sites"),
        (["addition", ASKED], "give a site to read"),
        (["addition", "--sites", "a0.2"], "say where: --at"),
        (["addition", ASKED, "--site", "a9.9"], "a9.9"),
        (["addition", ASKED, "--site", "a0.2", "--written", "0"], "written must be at least 1, such as 200, not 0"),
        (["addition", ASKED, "--site", "a0.2", "-n", "0", "--sampled"], "n must be at least 1"),
        (["addition", "--sites", "a0.2", "--at", "=", "--queries", "0"], "queries must be at least 1"),
        (["addition", "--sites", "a0.2", "--at", "nowhere"], "nowhere"),
    ],
)
def test_what_cannot_be_is_one_line(arguments, says, capsys):
    assert main(["explain", *arguments]) == 2
    told = capsys.readouterr().err.strip()
    assert says in told
    assert "\n" not in told


def test_a_vector_and_another_rule_are_refused(ioi):
    vector = ioi.query(vector=[1.0] * ioi.probed.width("a1.3"), site="a1.3", at="END")
    with pytest.raises(UserError, match="an explanation takes a query with an input"):
        ioi.explain(vector)
    query = ioi.query(IOI, at="END", site="a1.3")
    with pytest.raises(UserError, match="use position rule same"):
        verb.explain(ioi.parts, query, Criterion.parse(0.1, "euclidean").but(position_rule="any"), ExplainSettings())
