"""A study of facts for a model that is given, and which of its activations are read."""

from __future__ import annotations

import dataclasses
import json

import pytest
import torch
from transformers import AutoTokenizer

import inversionview as iv
from inversionview import cli
from inversionview.errors import UserError
from inversionview.probed.model import ProbedModel
from inversionview.sites import Site
from inversionview.studies.facts_queries import attention_to_begin, choose_queries, heads_at_end, query_positions
from inversionview.studies.recipes import DECODER_RECIPES
from inversionview.studies.recipes.facts import facts
from inversionview.studies.train_probed import exact_match
from inversionview.tasks.facts import FactsTask
from inversionview.tasks.vocabulary import Vocabulary
from tests.paths import shared
from tests.studies.text_models import random_model
from tests.tasks.test_facts import small_table


@pytest.fixture(scope="module")
def probed():
    model = random_model("gpt2")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for parameter in model.parameters():
            parameter.data.add_(0.3 * torch.randn_like(parameter))
    return ProbedModel(model, AutoTokenizer.from_pretrained(shared("models/gpt2_tokenizer")))


@pytest.fixture(scope="module")
def task(probed):
    return FactsTask(Vocabulary(probed.tokenizer), small_table())


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr("inversionview.studies.evaluate.ACCURACY_INPUTS", 20)

    def small_decoder(budget, seed):
        plan = facts(budget, seed)
        sizes = {"d_model": 16, "n_heads": 2, "trunk_blocks": 1, "trunk_width": 16}
        return dataclasses.replace(
            plan, decoder=sizes, rate_queries=2, training=dataclasses.replace(plan.training, batch_size=16)
        )

    monkeypatch.setitem(DECODER_RECIPES, "facts", small_decoder)


def run(capsys, *args):
    code = cli.main([str(arg) for arg in args])
    out, err = capsys.readouterr()
    return code, json.loads(out) if code == 0 and "--json" in args else err


def test_the_commands_work_on_bear_with_gpt2s_tokenizer(probed, small, tmp_path, capsys):
    model, study, bear = tmp_path / "model", tmp_path / "study", tmp_path / "bear"
    probed.model.save_pretrained(model)
    probed.tokenizer.save_pretrained(model)
    bear.mkdir()
    for name in ("P36", "P30"):
        lines = (shared("data/bear") / "BEAR" / f"{name}.jsonl").read_text("utf-8").splitlines()
        (bear / f"{name}.jsonl").write_text("\n".join(lines[:20]), "utf-8")
    trained, err = run(capsys, "train", "facts", "--model", model, "--texts", bear, "--length", 20,
                       "--sites", "a0.1,a1.0", "--steps", 2, "--out", study)  # fmt: skip
    assert trained == 0, err
    text = "The capital of Morocco is Rabat."
    code, read = run(capsys, "read", study, text, "--at", "END", "--site", "a1.0", "-n", 20, "--json")
    assert code == 0, read
    assert (read["epsilon"], read["metric"]) == (0.25, "cosine")
    code, cells = run(capsys, "map", study, text, "--json")
    assert code == 0, cells
    assert {cell["at"] for cell in cells["cells"]} == {"subject_first", "subject_last", "END", "object"}
    code, patched = run(capsys, "patch", study, "--target", "object", "--at", "subject_last", "--sites", "a0.1",
                        "--contrast", "change:subject", "-n", 10, "--json")  # fmt: skip
    assert code == 0, patched


def test_facts_must_be_given(probed, tmp_path, capsys):
    probed.model.save_pretrained(tmp_path / "model")
    probed.tokenizer.save_pretrained(tmp_path / "model")
    code, err = run(capsys, "train", "facts", "--model", tmp_path / "model", "--out", tmp_path / "study")
    assert code == 2
    assert "give --texts with a folder of BEAR or a COUNTERFACT file" in err


def test_a_head_s_attention_is_that_of_the_model(probed, task):
    tokens = task.sample(70, generator=torch.Generator().manual_seed(0))
    found = attention_to_begin(probed, tokens, Site("head", 1, 0))
    assert torch.allclose(found, probed.attention(tokens, 1)[:, 0, :, 0], atol=1e-6)
    assert torch.allclose(found[:, 0], torch.ones(70))


def test_positions_are_at_end_or_where_the_head_looks_least_at_begin():
    to_begin = torch.tensor([[1.0, 0.5, 0.2, 0.1], [1.0, 0.5, 0.5, 0.0], [1.0, 0.9, 0.7, 0.1], [1.0, 0.9, 0.1, 0.0]])
    eligible = torch.tensor([[False, True, True, False]] * 4)
    ends = torch.tensor([1, 1, 1, 1])
    at_end = torch.tensor([False, False, False, True])
    assert query_positions(to_begin, ends, eligible, at_end).tolist() == [2, 1, -1, -1]


def test_queries_are_half_at_end_and_never_where_the_head_rests(probed, task):
    queries = choose_queries(probed, task, "a0.1", 20)
    ends = task.position_of(queries.tokens, "END")
    assert (queries.positions[:10] == ends[:10]).all()
    assert (queries.to_begin < 0.6).all()
    to_begin = attention_to_begin(probed, queries.tokens, Site("head", 0, 1))
    least = to_begin.masked_fill(~task.eligible(queries.tokens), 2).amin(dim=1)
    assert torch.allclose(queries.to_begin[10:], least[10:])
    again = choose_queries(probed, task, "a0.1", 20)
    assert torch.equal(again.tokens, queries.tokens)
    with pytest.raises(UserError, match="no head of this model"):
        choose_queries(probed, task, "x0.pre", 4)


def test_heads_are_chosen_by_what_they_add_at_end(probed, task):
    heads = heads_at_end(probed, task, n=40, heads=3)
    assert len(set(heads)) == 3
    assert all(Site.parse(head) in probed.sites for head in heads)


def test_the_bundled_study_knows_its_facts_and_its_decoder_finds_members():
    study = iv.load_study("facts-small")
    rows = study.task.rows.tokens
    assert exact_match(study.probed, study.task, rows[study.task.is_held_out(rows)]) >= 0.95
    found = study.evaluate(n=60, cells=0)
    assert found["in_domain"] == 1
    assert found["mean"]["same"]["rate"] > found["mean"]["same"]["floor"] + 0.1
    query = study.query("The currency of Japan is the yen.", at="END", site="x3.post")
    members = study.exact_preimage(query)
    assert query.input in members.inputs
