"""A study of indirect object identification for a model that is given."""

from __future__ import annotations

import dataclasses
import json

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

import inversionview as iv
from inversionview import cli
from inversionview.errors import UserError
from inversionview.probed.model import ProbedModel
from inversionview.reading.conditions import holds
from inversionview.studies.recipes import DECODER_RECIPES, PROBED_RECIPES, Budget
from inversionview.studies.recipes.base import TaskSource
from inversionview.studies.recipes.ioi import QUERIED, ioi, make_task, small_task
from inversionview.studies.training_runs import default_sites
from inversionview.tasks.outputs import exact_match
from tests.probed.tiny import tiny
from tests.studies.text_models import FAMILIES, random_model
from tests.tokenizers import byte_tokenizer

TEXT = "When Mary saw John in the park, John gave the book to Mary."


@pytest.fixture
def model(tmp_path):
    folder = tmp_path / "model"
    random_model("gpt2").save_pretrained(folder)
    byte_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr("inversionview.studies.verbs.evaluate.ACCURACY_INPUTS", 20)

    def small_decoder(budget, seed):
        plan = ioi(budget, seed)
        sizes = {**plan.decoder, "d_model": 16, "n_heads": 2, "trunk_blocks": 1, "trunk_width": 16}
        return dataclasses.replace(
            plan, decoder=sizes, rate_queries=2, training=dataclasses.replace(plan.training, batch_size=8)
        )

    monkeypatch.setitem(DECODER_RECIPES, "ioi", small_decoder)


def run(capsys, *args):
    code = cli.main([str(arg) for arg in args])
    out, err = capsys.readouterr()
    return code, json.loads(out) if code == 0 and "--json" in args else err


@pytest.mark.parametrize("family", FAMILIES)
def test_the_commands_work_with_a_local_model_and_its_tokenizer(family, small, tmp_path, capsys):
    study, model = tmp_path / "study", tmp_path / "model"
    random_model(family).save_pretrained(model)
    byte_tokenizer().save_pretrained(model)
    raw = ("--convention", "raw") if family in ("llama", "qwen3", "gemma3_text") else ()
    trained, err = run(capsys, "train", "ioi", "--model", model, "--sites", "a0.1,a1.0", *raw, "--steps", 2,
                       "--out", study)  # fmt: skip
    assert trained == 0, err
    code, read = run(capsys, "read", study, TEXT, "--at", "END", "--site", "a1.0", "-n", 10, "--json")
    assert code == 0, read
    assert (read["epsilon"], read["metric"], read["drawn"]) == (0.1, "cosine", 10)
    code, rates = run(capsys, "evaluate", study, "-n", 4, "--cells", 0, "--json")
    assert code == 0, rates
    assert set(rates["sites"]) == {"a0.1", "a1.0"}
    code, cells = run(capsys, "map", study, "--queries", 2, "--draws", 100, "--sites", "a1.0", "--json")
    assert code == 0, cells
    code, patched = run(capsys, "patch", study, "--target", "answer", "--at", "END", "--sites", "a0.1",
                        "--contrast", "flip", "-n", 10, "--json")  # fmt: skip
    assert code == 0, patched


@pytest.mark.parametrize("given", [["--texts", "some.txt"], ["--length", "9"]])
def test_sentences_are_not_to_be_given(model, tmp_path, capsys, given):
    code, err = run(capsys, "train", "ioi", "--model", model, "--out", tmp_path / "study", *given)
    assert code == 2
    assert "ioi is of sentences of its own: leave out --texts" in err


def test_a_model_without_a_tokenizer_is_refused():
    with pytest.raises(UserError, match="tokenizer"):
        make_task(ProbedModel(tiny("gpt2")), TaskSource())


def test_the_published_run_is_a_hundred_epochs_of_200_000_activations():
    plan = ioi(Budget(), 0)
    assert (plan.training.steps, plan.training.minutes, plan.training.batch_size) == (156_250, None, 128)
    assert 156_250 * 128 == 100 * 200_000
    assert (ioi(Budget(minutes=20), 0).training.minutes, ioi(Budget(minutes=20), 0).training.batch_size) == (20, 256)
    assert (plan.metric, plan.epsilon) == ("cosine", 0.1)


def test_the_published_sites_are_those_of_gpt2_small():
    config = GPT2Config(n_embd=12, n_layer=12, n_head=12, vocab_size=9, n_positions=8)
    probed = ProbedModel(GPT2LMHeadModel(config))
    sites = default_sites(probed, ioi(Budget(), 0).kinds)
    assert len(sites) == 157
    assert set(QUERIED) < set(sites)
    assert len(QUERIED) == 26


def test_the_small_model_fits_its_sentences():
    task, sizes = small_task(), PROBED_RECIPES["ioi-small"](Budget(), 0).model
    assert sizes["vocab_size"] == task.vocab_size
    assert sizes["n_positions"] == task.max_length


@pytest.mark.slow
def test_the_bundled_study_names_the_indirect_object_and_its_decoder_finds_members():
    study = iv.load_study("ioi-small")
    rows = study.task.sample(2000, generator=torch.Generator().manual_seed(0), split="held-out")
    for only, least in (("pair", 0.99), ("phrases", 0.95)):
        held_out = holds(study.task, f"`held out` == '{only}'", rows, torch.ones(len(rows), dtype=torch.long))
        assert int(held_out.sum()) > 300
        assert exact_match(study.probed, study.task, rows[held_out]) >= least
    found = study.evaluate(n=60, cells=0)
    assert found.in_domain == 1
    assert found.mean.same.rate > found.mean.same.floor + 0.2


@pytest.mark.slow
def test_a_head_of_the_bundled_study_holds_the_name_that_comes_next():
    study = iv.load_study("ioi-small")
    query = study.query("When Alice saw Paul in the garden, Paul gave the book to Alice.", at="END", site="a2.1")
    members = study.preimage(query, n=40, seed=0).members
    assert len(members) >= 20
    assert all(text.endswith(" Alice.") for text in members)
