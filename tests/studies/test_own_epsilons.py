"""Each site may have an ε of its own: it is kept with the study, and everything that is not told otherwise uses it."""

from __future__ import annotations

import json

import pytest
import torch

from inversionview.criterion import Criterion
from inversionview.errors import UserError
from inversionview.preimage.epsilon.null import null_epsilon
from inversionview.preimage.estimates.rates import in_epsilon
from inversionview.studies import training_runs
from inversionview.studies.description import read_description
from inversionview.studies.study import Study, load_study
from inversionview.studies.verbs.hypotheses import run_hypothesis
from tests.preimage.tiny import SITES, decoder, few_sums, probed, save_study, task

OWN = {site: 0.2 + 0.1 * i for i, site in enumerate(SITES)}


@pytest.fixture(autouse=True)
def small_domain(monkeypatch):
    monkeypatch.setattr("inversionview.studies.study.get_task", lambda name, *of: few_sums())
    monkeypatch.setattr("inversionview.studies.verbs.evaluate.ACCURACY_INPUTS", 200)


@pytest.fixture
def study(tmp_path) -> Study:
    return load_study(save_study(tmp_path / "tiny", epsilons=OWN, epsilon_rule="null:0.05"))


def test_they_come_back_from_disk(study):
    assert read_description(study.folder).epsilons == OWN
    assert study.description.epsilon_at(SITES[1]) == OWN[SITES[1]]
    assert study.description.epsilon_at("m7") == study.description.epsilon


def test_an_older_description_has_one_for_all(tmp_path):
    folder = save_study(tmp_path / "old")
    content = json.loads((folder / "study.json").read_text())
    for later in ("recipe", "epsilons", "epsilon_rule"):
        del content[later]
    (folder / "study.json").write_text(json.dumps(content))
    assert read_description(folder).epsilons == {}


def test_a_reading_takes_its_site_s_own_unless_told_otherwise(study):
    for site in SITES:
        query = study.query("990+500=1490", at="=", site=site)
        found = study.preimage(query, n=20, colors=False)
        exact = study.exact_preimage(query)
        assert found.epsilon == exact.epsilon == OWN[site]
        assert "null:0.05" in found.epsilon_from
        assert study.preimage(query, n=20, epsilon=0.3, colors=False).epsilon == 0.3


def test_a_map_and_a_test_take_it_too(study):
    cells = study.map("990+500=1490").cells
    assert {cell.site: cell.epsilon for cell in cells} == OWN
    assert study.map("990+500=1490").epsilon_rule == "null:0.05"
    assert study.map("990+500=1490", epsilon=0.3).epsilon == 0.3
    queries = [study.query("990+500=1490", at="=", site=site) for site in SITES[:2]]
    together = run_hypothesis(study, queries, "F2", random_queries=3)
    apart = [run_hypothesis(study, query, "F2", random_queries=3, epsilon=OWN[query.site])[0] for query in queries]
    assert [test.p_value for test in together] == [test.p_value for test in apart]
    assert [test.consistency for test in together] == [test.consistency for test in apart]


def test_rates_are_of_each_site_s_own():
    def rates(epsilon):
        generator = torch.Generator().manual_seed(0)
        return in_epsilon(
            decoder(), probed(), task(), 40, criterion=Criterion.parse(epsilon), generator=generator
        ).floor.any

    together = rates(OWN)
    for i, site in enumerate(SITES):
        assert (together[i] == rates(OWN[site])[i]).all()


def test_an_evaluation_names_them(study):
    found = study.evaluate(20, cells=2)
    assert found.epsilon is None
    assert {site: row.epsilon for site, row in found.sites.items()} == OWN


def test_training_finds_them_by_the_null_quantile(monkeypatch):
    monkeypatch.setattr(training_runs, "NULL_PAIRS", 400)
    model = probed()
    target = training_runs.Target("addition", "addition", None, "tl", ("a0.1", "x1.post"), "euclidean", "null:0.3")
    described = training_runs._describe(training_runs.Path("new"), target, model, kept="probed", task=task())
    found = training_runs._with_epsilons(described, "null:0.3", model, task())
    generator = torch.Generator().manual_seed(0)
    wanted = null_epsilon(model, task(), ["a0.1", "x1.post"], 0.3, n=400, generator=generator)
    assert found.epsilons == {site: one.epsilon for site, one in wanted.items()}
    assert found.epsilon_rule == "null:0.3"
    assert training_runs._with_epsilons(described, 0.2, model, task()).epsilon == 0.2
    with pytest.raises(UserError, match="a number or null:P"):
        training_runs._with_epsilons(described, "causal:0.1", model, task())
