"""Each site may have an ε of its own: it is kept with the study, and everything that is not told otherwise uses it."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

from inversionview.criterion import Criterion, SiteEpsilons
from inversionview.errors import UserError
from inversionview.preimage.epsilon import calibration
from inversionview.preimage.epsilon.calibration import site_epsilons
from inversionview.preimage.epsilon.null import null_epsilon
from inversionview.preimage.estimates.rates import in_epsilon
from inversionview.studies.description import read_description
from inversionview.studies.folder import describe, open_folder
from inversionview.studies.parts import LiveParts, live_parts
from inversionview.studies.study import Study
from tests.preimage.tiny import SITES, decoder, few_sums, probed, save_study, task

OWN = {site: 0.2 + 0.1 * i for i, site in enumerate(SITES)}


@pytest.fixture(autouse=True)
def small_domain(monkeypatch):
    monkeypatch.setattr("inversionview.studies.verbs.evaluate.ACCURACY_INPUTS", 200)


@pytest.fixture
def study(tmp_path) -> Study:
    """As it is read from disk, of few sums."""
    folder = open_folder(save_study(tmp_path / "tiny", epsilons=OWN, epsilon_rule="null:0.05"))
    return Study.of(live_parts(folder, task=few_sums()))


def test_they_come_back_from_disk(study):
    assert read_description(study.folder).epsilons == OWN
    description = read_description(study.folder)
    assert description.epsilon_at(SITES[1]) == OWN[SITES[1]]
    assert description.epsilon_at("m7") == description.epsilon
    assert study.criterion == Criterion("euclidean", "same", SiteEpsilons(OWN, "null:0.05"))
    assert study.criterion.largest == max(OWN.values())


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
    together = study.test(queries, "F2", random_queries=3)
    apart = [study.test(query, "F2", random_queries=3, epsilon=OWN[query.site])[0] for query in queries]
    assert [test.p_value for test in together] == [test.p_value for test in apart]
    assert [test.consistency for test in together] == [test.consistency for test in apart]


def test_rates_are_of_each_site_s_own():
    def rates(epsilon):
        generator = torch.Generator().manual_seed(0)
        epsilon = SiteEpsilons(epsilon, "") if isinstance(epsilon, dict) else epsilon
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
    monkeypatch.setattr(calibration, "NULL_PAIRS", 400)
    sites, model = ("a0.1", "x1.post"), probed()
    parts = LiveParts("new", model, task(), None, Criterion.parse("null:0.3"), sites)
    found = describe(
        replace(parts, criterion=site_epsilons(parts.criterion, sites, probed=model, task=task())), name="new"
    )
    generator = torch.Generator().manual_seed(0)
    wanted = null_epsilon(model, task(), sites, 0.3, n=400, generator=generator)
    assert found.epsilons == {site: one.epsilon for site, one in wanted.items()}
    assert found.epsilon == max(found.epsilons.values())
    assert found.epsilon_rule == "null:0.3"
    constant = site_epsilons(Criterion.parse(0.2), sites, probed=model, task=task())
    assert describe(replace(parts, criterion=constant), name="new").epsilon == 0.2
    with pytest.raises(UserError, match="a number or null:P"):
        site_epsilons(Criterion.parse("causal:0.1"), sites, probed=model, task=task())
