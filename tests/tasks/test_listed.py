"""A task of a few sentences, and what every task is given."""

from __future__ import annotations

import math
import unicodedata

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

import inversionview as iv
from inversionview.errors import UserError
from inversionview.probed.model import ProbedModel
from inversionview.tasks import TASKS, get_task
from inversionview.tasks.base import Task
from inversionview.tasks.listed import ListedTask
from inversionview.tasks.vocabulary import Characters, word_tokenizer
from tests.tokenizers import byte_tokenizer

SENTENCES = (
    "The cat sat on the mat.", "The dog sat on the mat.", "The cat ran.", "A dog ran to the old cat.", "A bird sang.",
)  # fmt: skip
ANIMALS = ("cat", "dog", "cat", "dog", "bird")


@pytest.fixture(scope="module")
def task() -> ListedTask:
    return ListedTask.of_texts(
        "animals", word_tokenizer(SENTENCES), SENTENCES, places={"animal": ANIMALS}, features={"animal": ANIMALS}
    )


def test_a_role_is_played_by_a_whole_word():
    texts = ("A catalogue and a cat.", "A cat and a dog.")
    task = ListedTask.of_texts("cats", byte_tokenizer(), texts, places={"cat": ["cat", "cat"], "dog": ["", "dog"]})
    rows = next(task.enumerate())
    said = [task.decode(row[: place + 1]) for row, place in zip(rows, task.places(rows)["cat"], strict=True)]
    assert [text.removeprefix(task.tokenizer.bos_token) for text in said] == ["A catalogue and a cat", "A cat"]
    assert task.places(rows)["dog"][0] == -1
    with pytest.raises(UserError, match=r"'A catalogue and a cat\.' has no word 'og'"):
        ListedTask.of_texts("cats", byte_tokenizer(), texts, places={"dog": ["og", "dog"]})


def test_an_input_may_be_typed_with_its_accents_composed_or_not():
    texts = ["A café by the sea.", unicodedata.normalize("NFD", "Zoë ran."), "A dog."]
    task = ListedTask.of_texts("accents", byte_tokenizer(), texts)
    for text in texts:
        for form in ("NFC", "NFD"):
            assert task.decode(task.encode(unicodedata.normalize(form, text))) == text


@pytest.fixture(scope="module")
def rows(task):
    return next(task.enumerate())


def test_the_domain_is_the_sentences(task, rows):
    assert (task.name, task.size) == ("animals", 5)
    assert [task.decode(row) for row in rows] == list(SENTENCES)
    for text, row in zip(SENTENCES, rows, strict=True):
        tokens = task.encode(text.rstrip("."))
        assert torch.equal(tokens, row[: len(tokens)])
    assert task.contains(rows).all()
    assert task.log_prior(rows).tolist() == pytest.approx([-math.log(5)] * 5)
    wrong = rows.clone()
    wrong[:, 2] = rows[:, 1]
    assert not task.contains(wrong).any()
    assert task.log_prior(wrong).tolist() == [-math.inf] * 5


def test_both_sides_of_the_split_have_some_of_it(task, rows):
    held_out = task.is_held_out(rows)
    assert held_out.tolist().count(True) == 2
    for split, side in (("train", False), ("held-out", True)):
        drawn = task.sample(50, generator=torch.Generator().manual_seed(0), split=split)
        assert task.is_held_out(drawn).tolist() == [side] * 50
    everything = task.sample(200, generator=torch.Generator().manual_seed(0))
    assert set(task.index(everything).tolist()) == set(range(5))


def test_places_and_features_are_those_that_were_given(task, rows):
    at = task.position_of(rows, "animal")
    assert [task.token_strings(row)[t].strip() for row, t in zip(rows, at.tolist(), strict=True)] == list(ANIMALS)
    assert [task.role(row, t) for row, t in zip(rows, at.tolist(), strict=True)] == ["animal"] * 5
    assert task.role(rows[0], 1) == "1"
    assert task.position_of(rows, "7").tolist() == [7, 7, -1, 7, -1]
    assert task.position_of(rows, str(int(at[0]))).tolist() == [-1, -1, -1, 2 if int(at[3]) != 2 else -1, -1]
    feature = task.features["animal"]
    assert [feature.values[code] for code in feature.compute(rows, at).tolist()] == list(ANIMALS)
    token = task.features["token"]
    assert [token.values[code] for code in token.compute(rows, at).tolist()] == [f"' {name}'" for name in ANIMALS]


def test_what_can_come_next_leads_to_a_sentence_only(task, rows):
    possible = task.next_tokens(rows[:1])[0]
    begun = {task.vocabulary.text([token]) for token in task.used_tokens[possible[0]].tolist()}
    assert begun == {"The", "A"}
    assert torch.equal(task.next_tokens(rows, 2), task.next_tokens(rows)[:, 2:])


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("The cow sat", "after 'The' comes ' dog', ' cat', not ' cow'"),
        ("A bird sang. So", "it goes on after 'A bird sang.'"),
        ("", "it is empty; one is 'The cat sat on the mat.'"),
    ],
)
def test_a_text_that_is_none_is_explained(task, text, says):
    with pytest.raises(UserError, match="is not an input of animals") as caught:
        task.encode(text)
    assert says in str(caught.value)


def test_what_cannot_be_a_task_is_said(task):
    tokenizer = task.tokenizer
    with pytest.raises(UserError, match="needs two texts or more, all different, not 1"):
        ListedTask.of_texts("one", tokenizer, SENTENCES[:1])
    with pytest.raises(UserError, match="all different, not 2"):
        ListedTask.of_texts("same", tokenizer, [SENTENCES[0]] * 2)
    with pytest.raises(UserError, match="animal has 2 values for 5 texts"):
        ListedTask.of_texts("few", tokenizer, SENTENCES, features={"animal": ANIMALS[:2]})
    with pytest.raises(UserError, match="does not know token 2"):
        ListedTask.of_texts("other", tokenizer, ["The zebra sang.", "A bird sang."])


@pytest.fixture(scope="module")
def probed(task) -> ProbedModel:
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = LlamaConfig(vocab_size=task.vocab_size, max_position_embeddings=task.max_length, **sizes)
    return ProbedModel(LlamaForCausalLM(config), task.tokenizer)


def test_a_study_of_it_needs_no_file(task, probed, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    study = iv.Study(probed, task)
    query = study.query(SENTENCES[0], at="animal", site="x1.post")
    assert set(study.exact_preimage(query, epsilon=0.01).inputs) == {SENTENCES[0], SENTENCES[2]}
    assert {cell.at for cell in study.map(SENTENCES[0]).cells} == {"animal"}
    effects = study.patch(target="animal", at="animal", sites="x0.pre", contrast="random", n=10)
    assert effects.n == 10
    assert not list(tmp_path.iterdir())


def test_it_is_opened_by_its_name_in_the_models_own_tokens(probed, monkeypatch):
    monkeypatch.setitem(TASKS, "animals", lambda probed: ListedTask.of_texts("animals", probed.tokenizer, SENTENCES))
    study = iv.open_study("animals", model=probed)
    assert study.query(SENTENCES[4], site="x0.post").input == SENTENCES[4]
    with pytest.raises(UserError, match="task animals is made for a model: open its study"):
        get_task("animals")


class Bits(Task):
    """The least that a task is: four bits and their parity."""

    name, max_length, size = "bits", 7, 16
    vocabulary = Characters("01BE", begin="B", end="E")

    def encode(self, text):
        return self.vocabulary.row(self.vocabulary.known_ids(text))

    def sample(self, n, *, generator, split="all"):
        return self._rows(torch.randint(16, (n,), generator=generator))

    def contains(self, tokens):
        return (self._rows(torch.arange(16))[:, None] == tokens).all(dim=2).any(dim=0)

    def enumerate(self, block=65536):
        yield self._rows(torch.arange(16))

    def _rows(self, number):
        bits = number[:, None] >> torch.arange(4) & 1
        rows = torch.cat([bits, bits.sum(1, keepdim=True) % 2], dim=1)
        return torch.nn.functional.pad(torch.nn.functional.pad(rows, (1, 0), value=2), (0, 1), value=3)


def test_a_task_that_says_the_least_is_given_the_rest():
    task = Bits()
    rows = next(task.enumerate())
    assert (task.begin, task.end, task.pad, task.vocab_size) == (2, 3, 4, 5)
    assert task.decode(rows[5]) == "10100"
    assert task.token_strings(rows[5]) == list("B10100E")
    assert torch.equal(task.encode("10100"), rows[5])
    assert task.log_prior(rows).exp().sum().item() == pytest.approx(1)
    assert task.eligible(rows).sum(dim=1).tolist() == [5] * 16
    assert task.answer_mask(rows).nonzero()[:, 1].tolist() == [5] * 16
    assert task.role(rows[0], 3) == "3"
    assert task.position_of(rows, "3").tolist() == [3] * 16
    assert task.about == "Inputs of the task bits."
    with pytest.raises(UserError, match="'2' at character 1 is no token"):
        task.encode("120")
    with pytest.raises(UserError, match="bits has no position 'A1'"):
        task.position_of(rows, "A1")
    with pytest.raises(UserError, match="position 9 is not in '00000': positions are 0 to 6"):
        task.role(rows[0], 9)


def test_a_task_that_says_too_little_cannot_be_made():
    class Half(Task):
        name = "half"

    with pytest.raises(TypeError, match="abstract method"):
        Half()
