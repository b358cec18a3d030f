"""Tokenizers that are not the model's to the last token: longer than its embedding, or with ids without a token."""

import copy

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

import inversionview as iv
from inversionview.errors import UserError
from inversionview.probed.model import ProbedModel
from inversionview.studies.recipes import TaskSource
from inversionview.tasks.listed import ListedTask
from inversionview.tasks.text.task import TextTask
from inversionview.tasks.vocabulary import Vocabulary
from tests.studies.text_models import random_model, some_texts
from tests.tokenizers import byte_tokenizer

SENTENCE = "When Alice saw Paul in the garden, Paul gave the book to Alice."


def longer():
    """As of Gemma 3 and Code Llama: words were added for which the model has no embedding."""
    tokenizer = copy.deepcopy(byte_tokenizer())
    tokenizer.add_tokens(["<image>", "zebra"])
    tokenizer.add_special_tokens({"pad_token": "<pad>"})
    return tokenizer


@pytest.fixture(scope="module")
def probed():
    return ProbedModel(random_model("gpt2"), longer())


def test_a_longer_tokenizer_loses_only_the_texts_that_need_what_the_model_lacks(probed):
    assert len(probed.tokenizer) == probed.vocab_size + 3
    vocabulary = Vocabulary.of(probed)
    assert vocabulary.size == probed.vocab_size
    assert vocabulary.pad == vocabulary.end  # its own padding token is one of those
    assert vocabulary.known_ids("the dog")
    with pytest.raises(UserError, match="the model does not know token 3 of 'dogzebra'"):
        vocabulary.known_ids("dogzebra")
    rows = torch.stack([vocabulary.row(vocabulary.ids(text), 12) for text in ("the dog", "the zebra")])
    assert vocabulary.well_formed(rows).tolist() == [True, False]


def test_every_domain_of_texts_opens_in_such_a_model(probed):
    sentences = iv.open_study("ioi", model=probed)
    assert sentences.preimage(sentences.query(SENTENCE, site="a0.1"), n=20, epsilon=0.5).inputs
    own = TextTask.sampled(probed, 8, n=50, seed=0)
    assert int(own.windows.max()) < probed.vocab_size
    listed = ListedTask.of_texts("listed", probed.tokenizer, ["a dog", "a cat", "a bird"])
    iv.studies.opening.check_fits(probed, listed)
    zebras = ListedTask.of_texts("zebras", probed.tokenizer, ["a dog", "a zebra"])
    with pytest.raises(UserError, match=r"does not fit task zebras: it has .* tokens in its vocabulary"):
        iv.studies.opening.check_fits(probed, zebras)


def test_of_given_texts_those_that_need_them_are_left_out(probed, tmp_path):
    texts = [*some_texts(60), *(f"The zebra and {text}" for text in some_texts(60))]
    (tmp_path / "texts.txt").write_text("\n".join(texts))
    study = iv.open_study(
        "text", model=probed, source=TaskSource((str(tmp_path / "texts.txt"),), length=8), epsilon=0.5
    )
    assert int(study.task.windows.max()) < probed.vocab_size
    study.task.save(tmp_path)
    assert TextTask.load(tmp_path).vocab_size == probed.vocab_size


def test_a_tokenizer_of_another_model():
    config = GPT2Config(vocab_size=40, n_positions=32, n_embd=8, n_layer=1, n_head=2)
    with pytest.raises(UserError, match=r"the tokenizer has .* tokens and the model 40: it is another model's"):
        Vocabulary.of(ProbedModel(GPT2LMHeadModel(config), byte_tokenizer()))


def with_gaps():
    """Ids 3 to 9 stand for nothing."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    table = {"<s>": 0, "the": 1, "dog": 2, "cat": 10, "bird": 11}
    tokenizer = Tokenizer(models.WordLevel(table, unk_token="<s>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="<s>", unk_token="<s>")


def test_ids_with_gaps():
    tokenizer = with_gaps()
    vocabulary = Vocabulary(tokenizer)
    assert (len(tokenizer), vocabulary.size) == (5, 12)
    assert not any(map(vocabulary.knows, range(3, 10)))
    rows = torch.tensor([[0, 10, 11, 0], [0, 10, 5, 0]])
    assert vocabulary.well_formed(rows).tolist() == [True, False]
    config = GPT2Config(vocab_size=16, n_positions=16, n_embd=8, n_layer=1, n_head=2, bos_token_id=0, eos_token_id=0)
    task = TextTask.sampled(ProbedModel(GPT2LMHeadModel(config), tokenizer), 6, n=200, seed=0)
    assert set(task.windows.unique().tolist()) == {0, 1, 2, 10, 11}
    listed = ListedTask.of_texts("pets", tokenizer, ["the dog", "the cat", "the bird", "bird cat"])
    assert listed.contains(listed.encode("bird cat")[None]).all()
    assert listed.used_tokens[listed.next_tokens(torch.tensor([[0]]))[0, 0]].tolist() == [1, 11]
