"""What the name of a site does not say of it is said where it is read."""

import pytest
import torch
from transformers import Gemma3ForCausalLM, Gemma3TextConfig

import inversionview as iv
from inversionview.report.reading import settings
from inversionview.report.words import map_words, reading_words
from tests.preimage.tiny import few_sums, gpt2

INPUT = "500+990=1490"


@pytest.fixture(scope="module")
def gemma() -> iv.Study:
    config = Gemma3TextConfig(vocab_size=15, hidden_size=16, intermediate_size=32, num_hidden_layers=1, head_dim=8,
                              num_attention_heads=2, num_key_value_heads=1, max_position_embeddings=16,
                              pad_token_id=0, initializer_range=0.4)  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        probed = iv.ProbedModel(Gemma3ForCausalLM(config).eval())
    return iv.Study(probed, few_sums(), sites=["a0.1", "h0.1", "x0.post"], epsilon=0.5)


@pytest.mark.parametrize(("site", "said"), [("a0.1", "not what is added"), ("h0.1", "at the scale of the norm")])
def test_a_reading_of_a_head_before_a_norm_says_what_it_is_of(gemma, site, said, tmp_path):
    preimage = gemma.exact_preimage(gemma.query(INPUT, at="=", site=site))
    preimage.save(tmp_path / "preimage.json")
    for each in (preimage, iv.Preimage.load(tmp_path / "preimage.json")):
        assert said in each.query.site_note
        assert said in each.to_dict()["query"]["site_note"]
        assert said in dict(settings(each.to_reading()))[site]
        assert any(name == site and said in words for name, words in reading_words(each.to_reading()).settings)


def test_a_map_says_it_once_for_each_kind_of_head(gemma):
    study = iv.Study(gemma.probed, gemma.task, epsilon=0.5)
    heads = ["a0.0", "a0.1", "h0.0", "h0.1", "x0.post"]
    made = study.map(sites=heads, at=["="], queries=2)
    assert [note.split(":")[0] for note in made.site_notes] == ["a0.0", "h0.0"]
    assert "not what is added" in made.site_notes[0]
    assert set(made.site_notes) <= set(map_words(made).notes)
    assert made.to_dict()["site_notes"] == list(made.site_notes)
    without = study.map(sites=["x0.post"], at=["="], queries=2)
    assert without.site_notes is None
    assert "site_notes" not in without.to_dict()


def test_what_the_name_says_is_not_said_again(gemma):
    assert gemma.query(INPUT, at="=", site="x0.post").site_note == ""
    other = iv.Study(iv.ProbedModel(gpt2()), few_sums(), epsilon=0.5)
    preimage = other.exact_preimage(other.query(INPUT, at="=", site="a0.1"))
    assert "site_note" not in preimage.to_dict()["query"]
    assert "a0.1" not in dict(settings(preimage.to_reading()))
