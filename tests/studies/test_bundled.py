"""The studies that come with the package, as a user meets it."""

import json

import numpy as np
import pytest
import torch
from transformers import GPT2LMHeadModel

import inversionview as iv
from inversionview import cli
from inversionview.studies.description import bundled_studies
from inversionview.studies.study import Study
from inversionview.tasks.outputs import exact_match


@pytest.fixture(scope="module")
def study() -> Study:
    return iv.load_study("addition")


@pytest.mark.slow
def test_the_demo_of_all_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["demo", "--all"]) == 0
    out = capsys.readouterr().out
    starts = [iv.load_study(name).task.start for name in bundled_studies()]
    assert len(starts) == 4
    said = out.replace('"', "")
    assert all(f"{site} at {at}" in said for start in starts for site, at in start.places[:1])
    assert (tmp_path / "inversionview-report.html").stat().st_size > 10_000


def test_members_are_verified_by_the_model_itself(study):
    """Against plain transformers: the residual stream without its mean, at `=`, relative to the query's length."""
    preimage = study.preimage(study.query("615+861=1476", at="=", site="x0.post"), n=200)
    model = GPT2LMHeadModel.from_pretrained(study.folder / "probed").eval()

    def activation(text):
        tokens = torch.tensor([study.task.encode(text).tolist()])
        with torch.no_grad():
            hidden = model.transformer(inputs_embeds=model.transformer.wte(tokens), output_hidden_states=True)
        z = hidden.hidden_states[1][0, 8]
        return z - z.mean()

    z_q = activation("615+861=1476")
    known = [
        (text, d) for text, d, ok in zip(preimage.inputs, preimage.distances, preimage.in_domain, strict=True) if ok
    ]
    assert len(known) > 150
    expected = [((activation(text) - z_q).norm() / z_q.norm()).item() for text, _ in known]
    np.testing.assert_allclose([d for _, d in known], expected, atol=1e-5)
    assert preimage.n_inside == sum(d <= 0.1 for d in expected)


def test_it_is_as_good_as_is_said(study):
    """The full figures are those of `inversionview evaluate addition`; the bounds leave room for a small sample."""
    found = study.evaluate(n=150, cells=0)
    assert found.mean.any.rate > 0.90
    assert found.in_domain > 0.98
    assert found.accuracy > 0.99
    assert all(rates.any.rate > rates.any.floor for rates in found.sites.values())


def test_the_counting_study_counts_and_its_decoder_finds_members_that_share_the_count():
    study = iv.load_study("counting")
    tokens = study.task.sample(1000, generator=torch.Generator().manual_seed(0), split="held-out")
    assert exact_match(study.probed, study.task, tokens) > 0.98
    found = study.preimage(study.query("vvzccvczvvvzvcvc|v:8", at=":", site="m1"), 100, colors=False)
    (count,) = found.columns
    assert found.n_inside > 30
    assert {count.text(i) for i in found.inside.nonzero()[0]} == {"8"}
    assert found.in_domain.all()


ASKED = {
    "addition": ("615+861=1476", "=", "a0.0", "F1", "A1", "change:F1,S1"),
    "counting": ("vvzccvczvvvzvcvc|v:8", ":", "a0.0", "count", "answer", "flip"),
    "ioi-small": (
        "When Alice saw Paul in the garden, Paul gave the book to Alice.",
        "END",
        "a0.3",
        "S",
        "answer",
        "flip",
    ),
    "facts-small": ("The capital of Japan is Tokyo.", "END", "a0.1", "relation", "object", "change:subject"),
}
"""Of each study: an input, a position, a site, a feature, a target and a contrast."""


@pytest.mark.parametrize(
    "name", [*list(ASKED)[:2], *(pytest.param(name, marks=pytest.mark.slow) for name in list(ASKED)[2:])]
)
def test_every_study_answers_in_words_and_in_json(name, capsys):
    text, at, site, _, target, contrast = ASKED[name]
    for args in (
        ["read", name, text, "--at", at, "--site", site, "-n", "40"],
        ["patch", name, "--target", target, "--at", at, "--sites", site, "--contrast", contrast, "-n", "20"],
    ):
        assert cli.main(args) == 0, capsys.readouterr().err
        assert site in capsys.readouterr().out
        assert cli.main([*args, "--json"]) == 0
        document = json.loads(capsys.readouterr().out)
        assert (document["schema"], document["study"]) == (1, name)


@pytest.mark.slow
def test_facts_can_be_tested_and_tried_for_use(capsys):
    text, at, site, feature, *_ = ASKED["facts-small"]
    assert cli.main(["causal", "facts-small", text, "--at", at, "--site", site, "-n", "20", "--json"]) == 0
    used = json.loads(capsys.readouterr().out)
    (known,) = [one for one in used["features"] if one["name"] == feature]
    assert known["bits"] > 0.9 * known["of"]
    args = ["test", "facts-small", text, feature, "--at", at, "--sites", site, "--random-queries", "9", "--json"]
    assert cli.main(args) == 0
    (tested,) = json.loads(capsys.readouterr().out)["tests"]
    assert (tested["site"], tested["exact"]) == (site, True)


@pytest.mark.slow
def test_the_map_of_facts_knows_the_object_where_it_is_said(capsys):
    text, at, *_ = ASKED["facts-small"]
    assert cli.main(["map", "facts-small", text, "--sites", "x3.post", "--json"]) == 0
    cells = json.loads(capsys.readouterr().out)["cells"]
    (known,) = [cell["bits"]["object"] for cell in cells if cell["at"] == at]
    assert known["bits"] >= 0.99 * known["of"]


def test_the_list_of_studies_tells_those_that_are_there_from_recipes(capsys):
    assert cli.main(["studies"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    kinds = {}
    for words in lines:
        if words[1:3] == ["bundled", "study"]:
            kinds[words[0]] = "bundled"
        elif words[1:2] == ["recipe"]:
            kinds.setdefault(words[0], "recipe")
    assert {name for name, kind in kinds.items() if kind == "bundled"} == set(ASKED)
    assert kinds["ioi"] == kinds["facts"] == "recipe"
