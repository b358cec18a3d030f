"""The templates that come with the package, in the tokens of tokenizers of words and of bytes; and a study of one."""

from __future__ import annotations

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

import inversionview as iv
from inversionview.tasks.template.file import bundled, read_template
from inversionview.tasks.template.task import TemplateTask
from inversionview.tasks.vocabulary import Vocabulary, word_tokenizer
from tests.tasks.template.tiny import LIKES, write
from tests.tokenizers import byte_tokenizer

ASKS_FOR_WHOLE_WORDS = {"induction"}
"""Of which a small tokenizer of bytes has too few."""


@pytest.mark.parametrize("name", bundled())
@pytest.mark.parametrize("which", ["words", "bytes"])
def test_every_bundled_template_opens_and_holds_its_own_draws(name, which):
    declared = read_template(bundled()[name])
    if which == "bytes" and name in ASKS_FOR_WHOLE_WORDS:
        pytest.skip("a small tokenizer of bytes has too few of its words as one token")
    if which == "words" and name == "greater-than":
        pytest.skip("a tokenizer of words has no year in two parts")
    task = TemplateTask.of(
        declared, Vocabulary(word_tokenizer(declared.words) if which == "words" else byte_tokenizer())
    )
    rows = task.sample(40, generator=torch.Generator().manual_seed(0))
    assert task.contains(rows).all()
    assert task.vocabulary.is_canonical(rows).all()
    assert (task.position_of(rows, "END") + 1 == task.position_of(rows, "answer")).all()
    assert torch.equal(task.encode(task.decode(rows[0])), task.vocabulary.row(task.vocabulary.inner(rows[0])))
    assert {*task.columns} <= {*task.features}
    for feature in task.features.values():
        codes = feature.compute(rows, task.position_of(rows, "END"))
        assert 0 <= int(codes.min()) <= int(codes.max()) < len(feature.values)


def test_a_study_of_a_template_of_ones_own_is_kept_and_opened_again(tmp_path):
    path = write(tmp_path, LIKES.toml, "likes.toml")
    config = GPT2Config(vocab_size=len(byte_tokenizer()), n_positions=32, n_embd=8, n_layer=1, n_head=2)
    torch.manual_seed(0)
    probed = iv.ProbedModel(GPT2LMHeadModel(config), byte_tokenizer())
    study = iv.open_study(path, model=probed)
    query = study.query("Alice saw Brian.", at="END", site="a0.1")
    members = study.exact_preimage(query, epsilon=0.5).inputs
    study.save(tmp_path / "study")
    path.unlink()
    again = iv.load_study(tmp_path / "study")
    assert again.task.name == "likes"
    assert again.exact_preimage(again.query("Alice saw Brian.", at="END", site="a0.1"), epsilon=0.5).inputs == members
