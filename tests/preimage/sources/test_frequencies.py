"""Which tokens occur often, by counts and by texts."""

from __future__ import annotations

import json

import pytest
import torch

from inversionview.errors import UserError
from inversionview.preimage.sources.frequencies import frequent_tokens
from inversionview.tasks import get_task
from inversionview.tasks.text.task import TextTask
from inversionview.tasks.vocabulary import Vocabulary
from tests.decoder.tiny import tiny_decoder
from tests.tokenizers import byte_tokenizer

TEXTS = ["a dog saw a dog", "a cat", "the dog"]


def of_texts(**changes):
    vocabulary = Vocabulary(byte_tokenizer())
    task = TextTask.from_texts(vocabulary, [f"{text} and {i}" for i in range(120) for text in TEXTS], 12)
    sizes = {"vocab_size": vocabulary.size, "begin": vocabulary.begin, "end": vocabulary.end, "pad": vocabulary.pad}
    return tiny_decoder(**sizes, **changes), task


def test_a_list_of_counts_is_taken_as_it_is(tmp_path):
    path = tmp_path / "token_freq.json"
    path.write_text(json.dumps([50_000, 49_999, 10**9] + [0] * 7))
    frequent = frequent_tokens(tiny_decoder(), get_task("addition"), path)
    # The list does not reach the last five, of which three are begin, end and padding.
    assert frequent.nonzero()[:, 0].tolist() == [0, 2, 10, 11, 12, 13, 14]
    few = frequent_tokens(tiny_decoder(), get_task("addition"), path, 49_999)
    assert few[:3].tolist() == [True, True, True]


def test_tokens_are_counted_in_texts(tmp_path):
    decoder, task = of_texts()
    (tmp_path / "texts.txt").write_text("\n".join(TEXTS))
    counts = torch.bincount(torch.tensor([i for text in TEXTS for i in task.vocabulary.ids(text)]),
                            minlength=task.vocabulary.size)  # fmt: skip
    for least in (1, 2, 4):
        expected = counts >= least
        expected[[task.begin, task.end, task.pad]] = True
        assert torch.equal(frequent_tokens(decoder, task, tmp_path / "texts.txt", least), expected)
    assert 1 < (counts >= 2).sum() < (counts >= 1).sum()


def test_of_a_decoder_that_writes_few_tokens_the_class_of_others_is_never_barred(tmp_path):
    written = (3, 5, 10, 13, 14)
    path = tmp_path / "counts.json"
    path.write_text(json.dumps([0] * 5 + [9] + [0] * 9))
    decoder = tiny_decoder(tokens=written, others=True)
    assert frequent_tokens(decoder, get_task("addition"), path, 5).tolist() == [False, True, True, True, True, True]


@pytest.mark.parametrize(
    ("name", "content", "least", "said"),
    [
        ("a.json", "[1, 2", 1, "is not JSON"),
        ("a.json", json.dumps([1] * 16), 1, "16 counts, and the decoder has 15 tokens"),
        ("a.json", json.dumps([1] * 15), 0, "frequent must be at least 1"),
        ("a.txt", "a dog", 1, "the tokens of addition are none of texts"),
    ],
)
def test_mistakes_are_one_line(tmp_path, name, content, least, said):
    (tmp_path / name).write_text(content)
    with pytest.raises(UserError, match=said) as caught:
        frequent_tokens(tiny_decoder(), get_task("addition"), tmp_path / name, least)
    assert "\n" not in str(caught.value)
