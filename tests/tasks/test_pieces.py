"""Characters of several tokens, in byte-level tokenizers and in those that fall back to bytes."""

import random

import pytest

from inversionview.report.reading import visible
from inversionview.tasks.pieces import BROKEN, shown
from inversionview.tasks.text.task import TextTask
from inversionview.tasks.vocabulary import Vocabulary
from tests.studies.text_models import some_texts
from tests.tokenizers import byte_tokenizer, story_tokenizer

TEXTS = ["你好 dog", "the 🙂 cat", "é", "नमस्ते", "👨‍👩‍👧 family", "a\ufffdb", "日本語のテキスト", "x🙂🙂y"]


def words_of(vocabulary, text):
    return vocabulary.strings(vocabulary.row(vocabulary.ids(text)))[1:-1]


@pytest.fixture(params=[byte_tokenizer, story_tokenizer], ids=["bytes", "sentence pieces"])
def vocabulary(request):
    return Vocabulary(request.param())


@pytest.mark.parametrize("text", TEXTS)
def test_a_character_is_whole_at_its_first_token_and_joined_they_are_the_text(vocabulary, text):
    strings = words_of(vocabulary, text)
    assert len(strings) == len(vocabulary.ids(text))
    assert "".join(strings).removeprefix(" ") == text
    assert all(BROKEN not in string for string in strings) or BROKEN in text
    assert strings[-1] == "" or len(strings) == 1 or text[-1].isascii(), "what is rare is several tokens"


def test_any_text_is_its_tokens_joined(vocabulary):
    chance = random.Random(0)
    ranges = [(32, 126), (161, 0x24F), (0x900, 0x97F), (0x4E00, 0x9FFF), (0x1F300, 0x1FAFF), (0x10000, 0x10FFFF)]
    for _ in range(200):
        text = "".join(chr(chance.randint(*chance.choice(ranges))) for _ in range(chance.randint(1, 12)))
        assert "".join(words_of(vocabulary, text)).removeprefix(" ") == text.removeprefix(" "), ascii(text)


def test_a_part_of_a_character_is_marked():
    vocabulary = Vocabulary(byte_tokenizer())
    drawn = [visible(string) for string in words_of(vocabulary, "the 🙂")]
    assert drawn[0] == "the"
    assert "🙂" in "".join(drawn)
    assert drawn.count("⟨…⟩") >= 2
    assert BROKEN not in "".join(drawn)


def test_bytes_of_no_character_are_their_numbers():
    vocabulary = Vocabulary(byte_tokenizer())
    ids = vocabulary.ids("🙂")
    cut = vocabulary.strings(vocabulary.row(ids[:-1]))[1:-1]
    assert "".join(cut) == "⟨F0⟩⟨9F⟩⟨99⟩"
    assert shown(["<0xE4>", "<0xBD>", "<0xA0>", "<0xE4>"], [BROKEN] * 4) == ["你", "", "", "⟨E4⟩"]


def test_no_name_of_a_feature_hides_which_token_it_is():
    vocabulary = Vocabulary(byte_tokenizer())
    assert not any(BROKEN in name for name in vocabulary.names)
    task = TextTask.from_texts(vocabulary, some_texts(300), 12)
    names = task.features["token"].values
    assert len(set(names)) == len(names)
    assert not any(BROKEN in name for name in names)
    assert "'⟨F0⟩'" in names
