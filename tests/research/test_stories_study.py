"""A study of a story model, of its own texts: trained with a tiny budget, read, and measured for its page."""

from __future__ import annotations

import dataclasses
import json

import pytest
import torch

from inversionview import cli
from inversionview.probed.model import ProbedModel
from inversionview.studies import training_runs
from inversionview.studies.description import read_description
from inversionview.studies.recipes import DECODER_RECIPES, Budget
from inversionview.studies.recipes.text import free_text
from inversionview.studies.study import load_study
from research import stories_page, stories_study
from research.stories_features import WordEnds, add_features
from tests.studies.story_model import save_story_model

pytestmark = pytest.mark.slow
SITES = ("x0.pre", "a0.1", "a1.2", "a3.3", "a3.6")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_story_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "stories"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("inversionview.preimage.epsilon.calibration.NULL_PAIRS", 300)
        patch.setattr("inversionview.studies.recipes.text.SAMPLED", 400)
        patch.setattr("inversionview.tasks.text.sampling._TRIAL_TEXTS", 50)
        patch.setitem(DECODER_RECIPES, "text", small_decoder)
        train = ["train", "text", "--model", str(model), "--sites", ",".join(SITES), "--steps", "2"]
        assert cli.main([*train, "--out", str(out)]) == 0
    return out


def small_decoder(budget, seed):
    plan = free_text(budget, seed)
    sizes = {"d_model": 16, "n_heads": 2, "trunk_blocks": 1, "trunk_width": 16}
    return dataclasses.replace(plan, decoder=sizes, training=dataclasses.replace(plan.training, batch_size=16))


def test_without_sites_every_head_and_every_residual_stream_is_one(model):
    probed = ProbedModel.from_pretrained(model)
    heads = [f"a{layer}.{head}" for layer in range(5) for head in range(8)]
    residuals = ["x0.pre", *(f"x{layer}.post" for layer in range(5))]
    assert sorted(training_runs.default_sites(probed, free_text(Budget(steps=1)).kinds)) == sorted([*heads, *residuals])


def test_each_site_has_its_own_epsilon(folder):
    epsilons = read_description(folder).epsilons
    assert tuple(epsilons) == SITES
    assert epsilons["x0.pre"] > 0.5, "of one token, from which another one is far"
    assert epsilons["a1.2"] < epsilons["x0.pre"]


def test_its_own_text_is_read(folder, capsys):
    read = ["read", str(folder), "One day, a little girl", "--at", "little", "--site", "a1.2", "-n", "40", "--json"]
    assert cli.main(read) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["drawn"] == 40
    assert 0 < found["epsilon"] < 2
    assert all(one["distance"] <= found["epsilon"] for one in found["samples"] if one["inside"])


def test_the_page_is_made_of_what_is_measured(folder, monkeypatch, capsys):
    monkeypatch.setattr("inversionview.studies.verbs.evaluate.ACCURACY_INPUTS", 50)
    monkeypatch.setattr("inversionview.reading.information.PRIOR_DRAWS", 200)
    monkeypatch.setattr("inversionview.causal.use._POOL", 2)
    monkeypatch.setattr(stories_study, "DRAWS", 60)
    monkeypatch.setattr(stories_study, "PAIRS", 500)
    monkeypatch.setattr(stories_study, "LEAST_MEMBERS", 1)
    found = stories_study.measured(load_study(folder), 160, 1)
    assert found["training"]["steps"] == 2
    assert tuple(found["decoder"]["sites"]) == SITES
    assert [cell["site"] for cell in found["map"]["cells"]] == list(SITES[1:])
    assert {one["at"] for one in found["readings"].values()} == {stories_page.READ_AT}
    page = stories_page.page(json.loads(json.dumps(found)))
    assert "2 steps, 32 activations" in page
    assert all(f"| `{site}` |" in page for site in SITES)
    assert "**Not met**" in page  # after two steps the decoder finds nothing


def test_without_a_trained_study_what_was_measured_is_left(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(stories_study, "FOLDER", tmp_path / "none")
    assert stories_study.measure(10, 1) == {}
    assert "there is no trained study in" in capsys.readouterr().err


def test_a_word_is_one_where_it_ends_up_to_the_position(folder):
    task = load_study(folder).task
    row = task.encode("One day, Tim saw Timmy and a tiny")
    strings = task.token_strings(row)

    def ends(word, position):
        return [strings[i] for i in WordEnds(task, word).of(row[None], torch.tensor([position]))[0].nonzero()[:, 0]]

    last = len(strings) - 2
    assert len(ends("Tim", last)) == 1  # not in Timmy
    assert len(ends("Timmy", last)) == 1
    assert len(ends("One", last)) == 1
    assert ends("a", last) == [" a"]
    assert ends("and", strings.index(" a") - 2) == []  # not yet
    assert ends("t", last) == []
    names = add_features(task)
    assert {"token", "name", "first token", "length"} <= set(names)
    assert all(name in task.features for name in names)


def cell(site, **bits):
    of = {"token": 6.0, "token-1": 6.0, "token-2": 6.0, "length": 2.0}
    rest = {"token": 1.0, "token-1": 1.0, "token-2": 1.0, "length": 0.0} | bits
    return {
        "site": site, "few": 0, "apart": {"bits": rest["token-1"] - rest["token"], "se": 0.02},
        "bits": {n: {"bits": b, "of": of.get(n, 1.0), "se": 0.02} for n, b in rest.items()},
    }  # fmt: skip


def test_heads_are_chosen_by_the_rules():
    cells = [
        cell("a0.0", token=5.0),
        cell("a0.1", **{"token-1": 4.0, "token": 3.95}),  # not a tenth of a bit more
        cell("a0.2", **{"token-1": 2.0}),
        cell("a0.3", **{"seen One": 0.9, "token": 3.5}),  # knows the token as well
        cell("a0.4", **{"seen One": 0.6}),
        {"site": "a0.5", "few": 9, "bits": {}},
    ]
    found = stories_page.chosen({"cells": cells})
    assert {rule: one["site"] for rule, one in found.items()} == {
        stories_page.PREVIOUS: "a0.2", stories_page.EARLIER: "a0.4", stories_page.CURRENT: "a0.0",
    }  # fmt: skip
    assert found[stories_page.EARLIER]["feature"] == "seen One"
    assert stories_page.chosen({"cells": []}) == {}


def test_a_rate_is_above_its_floor_by_so_many_errors_of_the_difference():
    apart, error = stories_page.above({"rate": 0.5, "se": 0.03, "floor": 0.1}, 100)
    assert apart == pytest.approx(0.4)
    assert error == pytest.approx((0.03**2 + 0.1 * 0.9 / 100) ** 0.5)
