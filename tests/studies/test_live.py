"""A study of live objects: every verb that needs no decoder works on it, and nothing is written."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

import inversionview as iv
from inversionview.errors import UserError
from inversionview.preimage.sources.proposals import Draws
from inversionview.preimage.sources.registry import SOURCES
from inversionview.tasks.addition.task import AdditionTask
from tests.preimage import tiny
from tests.preimage.tiny import SITES, few_sums, gpt2


@pytest.fixture
def nowhere(tmp_path, monkeypatch):
    """An empty working directory, which is empty afterwards as well."""
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def llama() -> iv.ProbedModel:
    config = LlamaConfig(vocab_size=15, hidden_size=16, intermediate_size=32, num_hidden_layers=2,
                         num_attention_heads=2, num_key_value_heads=1, max_position_embeddings=16,
                         initializer_range=0.4)  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return iv.ProbedModel(LlamaForCausalLM(config).eval())


def test_every_verb_works_in_memory(llama, nowhere, monkeypatch):
    monkeypatch.setattr("inversionview.causal.ablation.SOURCES", 50)
    study = iv.Study(llama, few_sums(), epsilon=0.5)
    assert (study.name, study.decoder, study.folder) == ("addition", None, None)
    assert study.sites == tuple(map(str, llama.sites))
    query = study.query("500+990=1490", at="=", site="x0.post")
    assert query.input in study.exact_preimage(query).members
    assert study.map("500+990=1490", sites=["x0.post"]).cells
    assert study.patch(target="A1", at="=", sites="a0.0", contrast="random", n=20).n > 0
    assert study.causal(query, n=20).exact
    assert study.test(query, "F1", random_queries=3)[0].exact
    assert study.ablate("500+990=1490", "x0.post", "=").effects
    assert study.logit_attribution(query).values.shape == (1, 15)
    assert len(study.head_selection("=", n=20).heads) == 4
    assert set(study.preimage(query, n=60).members) <= set(study.exact_preimage(query).members)
    assert "in memory" in repr(study)
    for needs in (study.evaluate, study.validate):
        with pytest.raises(UserError, match="study addition has no decoder yet: train one with train_decoder"):
            needs()


def test_an_epsilon_of_the_study_is_measured_where_it_is_a_rule(nowhere):
    query = tiny.study().query("500+990=1490", at="A4", site="x1.post")
    asked = tiny.study().exact_preimage(query, epsilon="null:0.05")
    own = tiny.study(epsilon="null:0.05").exact_preimage(query)
    assert own.epsilon == asked.epsilon
    assert own.members == asked.members


def test_what_is_kept_reads_as_what_was_in_memory(tmp_path, monkeypatch):
    monkeypatch.setattr("inversionview.studies.folder.get_task", lambda name, *of: few_sums())
    study = tiny.study(epsilon=0.4, metric="cosine")
    study.save(tmp_path / "kept")
    kept = iv.load_study(tmp_path / "kept")
    assert (kept.name, kept.sites, kept.criterion) == (study.name, study.sites, study.criterion)
    query = kept.query("500+990=1490", at="A4", site="x1.post")
    assert kept.preimage(query, n=60).to_dict() == study.preimage(query, n=60).to_dict()
    study.save(tmp_path / "half", half=True)
    halved = iv.load_study(tmp_path / "half")
    assert halved.exact_preimage(query).members == study.exact_preimage(query).members
    files = [tmp_path / name / "decoder" / "model.safetensors" for name in ("half", "kept")]
    assert files[0].stat().st_size < files[1].stat().st_size
    with pytest.raises(UserError, match="exists and is not empty"):
        study.save(tmp_path / "kept")
    with pytest.raises(UserError, match="a study that is kept takes a number"):
        tiny.study(epsilon="null:0.05").save(tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_a_domain_and_a_model_make_a_study(tmp_path):
    gpt2(seed=4).save_pretrained(tmp_path / "model")
    study = iv.open_study("addition", model=tmp_path / "model", sites=["x0.post", "a0.1"], epsilon=0.3)
    assert (study.name, study.sites, study.criterion.constant) == ("addition", ("x0.post", "a0.1"), 0.3)
    assert isinstance(study.task, AdditionTask)
    member = study.preimage(study.query("500+990=1490", site="x0.post"), n=20).inputs[0]
    assert "=" in member
    with pytest.raises(UserError, match="there is no domain 'subtraction': give a study's folder, or one of addition"):
        iv.open_study("subtraction", model=tmp_path / "model")


def test_a_source_of_a_users_own_is_drawn_from_by_its_name(monkeypatch):
    class Own:
        name, density, n = "neighbours", None, 1

        def propose(self, activations, queries, generators):
            rows = few_sums().encode("500+990=1490")[None, None].expand(len(queries), 1, -1)
            return Draws(rows, torch.full(rows.shape[:2], torch.nan))

    monkeypatch.setattr(SOURCES, "_things", dict(SOURCES._things))
    asked = []
    iv.register_source("neighbours", lambda wanted: asked.append((wanted.argument, wanted.n)) or [Own()])
    study = tiny.study(with_decoder=False, sites=SITES)
    found = study.preimage(study.query("500+990=1490", site="x0.post"), n=40, also=["neighbours:near"])
    assert asked == [("near", 10)]
    assert sum(of.get("neighbours", 0) for of in found.sources) == 1
    assert np.isfinite(found.distances).any()
    with pytest.raises(UserError, match="there is a source 'neighbours' already"):
        iv.register_source("neighbours", lambda wanted: [])
    with pytest.raises(UserError, match="neither , nor :"):
        iv.register_source("a:b", lambda wanted: [])
    with pytest.raises(UserError, match="there is no source 'hearsay'; the sources are: retrieval, edits, given"):
        study.preimage(study.query("500+990=1490", site="x0.post"), n=40, also=["hearsay"])
