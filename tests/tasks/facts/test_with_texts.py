"""Facts and free texts in one domain."""

from __future__ import annotations

import pytest
import torch

from inversionview.errors import UserError
from inversionview.studies.verbs.query import find_position
from inversionview.tasks import Configured, get_task
from inversionview.tasks.facts.task import FactsTask
from inversionview.tasks.facts.with_texts import FactsAndTextsTask
from inversionview.tasks.text.task import TextTask
from inversionview.tasks.vocabulary import Vocabulary
from tests.studies.text_models import some_texts
from tests.tasks.facts.tiny import small_table
from tests.tokenizers import byte_tokenizer

FACT, TEXT = "The capital of Peru is Lima.", "The dog saw a house"


@pytest.fixture(scope="module")
def task():
    vocabulary = Vocabulary(byte_tokenizer())
    facts = FactsTask(vocabulary, small_table(), length=16)
    return FactsAndTextsTask(facts, TextTask.from_texts(vocabulary, [*some_texts(300), FACT], 16))


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def rows(task, *texts):
    encoded = [task.encode(text) for text in texts]
    wide = torch.full((len(texts), task.max_length), task.pad)
    for i, row in enumerate(encoded):
        wide[i, : len(row)] = row
    return wide


@pytest.mark.parametrize("split", ["all", "train", "held-out"])
def test_half_of_what_is_drawn_are_facts_on_the_side_that_was_asked_for(task, split):
    drawn = task.sample(600, generator=generator(), split=split)
    is_fact = task.facts.contains(drawn)
    assert 0.42 < is_fact.float().mean() < 0.58
    assert task.contains(drawn).all()
    if split != "all":
        assert (task.is_held_out(drawn) == (split == "held-out")).all()
    assert torch.equal(drawn, task.sample(600, generator=generator(), split=split))


def test_a_text_that_says_a_fact_is_that_fact(task):
    assert not task.facts.contains(task.texts.windows).any()
    assert task.decode(task.encode("The capital of Peru is Lima")) == FACT
    assert task.decode(task.encode("The capital of Peru is Paris.")) == "The capital of Peru is Paris."


def test_texts_without_a_fact_have_none_of_its_roles(task):
    both = rows(task, FACT, TEXT, "The capital of Peru is Paris.")
    for role, position in (("END", 5), ("object", 6), ("subject_first", 4), ("subject_last", 4)):
        assert task.position_of(both, role).tolist() == [position, -1, -1]
    assert task.position_of(both, "2").tolist() == [-1, 2, 2]  # there the fact names its relation
    assert task.position_of(both, "1").tolist() == [1, 1, 1]
    assert task.role(both[0], 5) == "END"
    assert task.role(both[1], 5) == "5"
    for row in both:
        for position in task.eligible(row[None])[0].nonzero()[:, 0].tolist():
            role = task.role(row, position)
            assert int(task.position_of(row[None], role)[0]) == position


def test_positions_are_found_by_role_word_and_index(task):
    fact, text = (task.encode(one) for one in (FACT, TEXT))
    assert find_position(task, fact, "END") == 5
    assert find_position(task, fact, "capital") == 2
    assert find_position(task, text, "dog") == 2
    assert find_position(task, text, "last") == find_position(task, text, None) == 5
    with pytest.raises(UserError, match="has no position 'END'"):
        find_position(task, text, "END")


def test_features_of_a_fact_are_none_elsewhere(task):
    both = rows(task, FACT, TEXT)
    at = torch.tensor([5, 5])
    said = {
        name: [feature.values[code] for code in feature.compute(both, at).tolist()]
        for name, feature in task.features.items()
    }
    assert said["fact"] == ["yes", "no"]
    assert said["relation"] == ["capital", "none"]
    assert said["subject"] == ["Peru", "none"]
    assert said["object"] == ["Lima", "none"]
    assert said["object kind"] == ["city", "none"]
    assert said["token"] == ["' is'", "' house'"]
    assert set(task.columns) <= set(task.features)


def test_the_domain_is_all_texts_and_has_no_density(task):
    both = rows(task, FACT, TEXT)
    broken = both[1].clone()
    broken[2] = task.pad
    odd = both[1].clone()
    odd[1:4] = torch.tensor(task.tokenizer.convert_tokens_to_ids(["The", "Ġd", "og"]))
    wide = torch.stack([*both, broken, odd])
    assert task.contains(wide).tolist() == [True, True, False, False]
    prior = task.log_prior(wide)
    assert prior[:2].isnan().all()
    assert (prior[2:] == -torch.inf).all()
    assert task.size is None
    with pytest.raises(UserError, match="cannot be enumerated"):
        next(iter(task.enumerate()))


def test_what_is_to_be_said_and_what_changes(task):
    both = rows(task, FACT, TEXT)
    assert task.answer_mask(both).nonzero().tolist() == [[0, 6], [1, 5]]
    subjects = {task.decode(task.change(both, ("subject",), generator(seed))[0]) for seed in range(20)}
    assert subjects == {FACT, "The capital of France is Paris.", "The capital of Costa Rica is San José."}
    assert torch.equal(task.change(both, ("subject",), generator())[1], both[1])


def test_it_is_kept_and_read_again(task, tmp_path):
    assert isinstance(task, Configured)
    task.save(tmp_path)
    again = get_task("facts-and-texts", tmp_path)
    assert torch.equal(again.sample(50, generator=generator()), task.sample(50, generator=generator()))
    assert again.roles == task.roles
    (tmp_path / "text" / "texts.safetensors").unlink()
    with pytest.raises(UserError, match=r"texts\.safetensors"):
        get_task("facts-and-texts", tmp_path)


def test_tokens_are_those_of_all_facts_and_of_the_texts_for_training(task):
    used = set(task.used_tokens.tolist())
    train = task.sample(2000, generator=generator(), split="train")
    assert task.other_tokens
    assert set(train.unique().tolist()) <= used
    facts, texts = set(task.facts.listed.unique().tolist()), set(task.texts.used_tokens.tolist())
    assert used == facts | texts
    assert not task.facts.other_tokens
