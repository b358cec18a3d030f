"""A study of a domain and a model, kept in a folder, is the same study when it is opened again."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import inversionview as iv
from inversionview.studies.study import load_study
from tests.studies.text_models import random_model
from tests.tokenizers import byte_tokenizer

GIFTS = """
about = "Who gets it?"
phrasings = ["{A} gave {B} a {thing}"]
answer = "thing"
[slots]
A = ["Mary", "John", "Tom"]
B = ["Mary", "John", "Tom"]
thing = ["ball", "hat"]
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    random_model("gpt2", n_positions=64).save_pretrained(folder)
    byte_tokenizer().save_pretrained(folder)
    return folder


@pytest.mark.parametrize("domain", ["ioi", "capitals", "of one's own"])
def test_a_study_that_was_never_trained_is_kept(domain, model, tmp_path):
    if domain == "of one's own":
        domain = tmp_path / "gifts.toml"
        domain.write_text(GIFTS)
    live = iv.open_study(domain, model=model, sites=["a1.0", "x1.post"], epsilon=0.3)
    live.save(tmp_path / "kept")
    if (tmp_path / "gifts.toml").exists():
        (tmp_path / "gifts.toml").unlink()
    kept = load_study(tmp_path / "kept")
    assert (kept.name, kept.sites, kept.criterion) == (live.name, live.sites, live.criterion)
    rows = live.task.sample(30, generator=torch.Generator().manual_seed(1))
    assert torch.equal(kept.task.sample(30, generator=torch.Generator().manual_seed(1)), rows)
    assert kept.task.size == live.task.size
    assert list(kept.task.features) == list(live.task.features)
    text = live.task.decode(rows[0])
    readings = [study.preimage(study.query(text, site="a1.0"), n=40) for study in (live, kept)]
    assert readings[0].inputs == readings[1].inputs
    np.testing.assert_array_equal(readings[0].distances, readings[1].distances)
