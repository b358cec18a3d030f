"""Indirect object identification, the bundled template, for a tokenizer of words and for one of bytes as GPT-2's is."""

from __future__ import annotations

import functools
import re

import pytest
import torch

from inversionview.errors import UserError
from inversionview.reading.conditions import holds
from inversionview.studies.recipes.ioi import small_task
from inversionview.tasks import Configured, Constrained, get_task
from inversionview.tasks.base import Contrastable, Flippable
from inversionview.tasks.template.file import bundled
from inversionview.tasks.template.task import TemplateTask
from inversionview.tasks.vocabulary import Vocabulary
from tests.tasks.template.ioi import ENDINGS, OPENINGS, WORDS, short, words
from tests.tokenizers import byte_tokenizer


@functools.cache
def of_bytes() -> Vocabulary:
    return Vocabulary(byte_tokenizer())


@functools.cache
def pieces() -> TemplateTask:
    return TemplateTask.of(short(), of_bytes())


@pytest.fixture(params=[words, pieces])
def task(request):
    return request.param()


def everything(task):
    return torch.cat(list(task.enumerate(block=50)))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def codes(task, name, tokens):
    return task.features[name].compute(tokens, torch.ones(len(tokens), dtype=torch.long))


def value(task, name, row):
    return task.features[name].values[int(codes(task, name, row[None])[0])]


def test_the_domain_is_everything_that_fills_every_frame(task):
    texts = [task.decode(row) for row in everything(task)]
    assert len(set(texts)) == task.size == 2 * 2 * (4 * 3) * 2 * 2 * 3
    assert "In the school one day, Carol saw Alice, and Alice gave the ring to Carol." in texts
    assert task.contains(everything(task)).all()
    assert torch.exp(task.log_prior(everything(task))).sum() == pytest.approx(1)


def test_each_name_stands_there_twice_and_the_last_is_not_the_third(task):
    for text in map(task.decode, everything(task)[::7]):
        names = re.findall("|".join(WORDS["names"]), text)
        assert sorted(names) == sorted({*names} | {*names}) * 2 or len(names) == 4
        assert {names[0], names[1]} == {names[2], names[3]}
        assert len({*names}) == 2


def test_texts_go_to_tokens_and_back(task):
    for row in everything(task)[::29]:
        text = task.decode(row)
        assert torch.equal(task.encode(text), row[: len(task.encode(text))])
        assert torch.equal(task.encode(text.removesuffix(".")), task.encode(text))
        assert "".join(task.token_strings(row)[1:-1]) == text


def test_a_changed_token_leads_out_of_the_domain_or_to_another_sentence(task):
    rows = everything(task)
    known = {tuple(row.tolist()) for row in rows}
    some, tokens = rows[::41], [*task.forms.used.tolist(), task.end, task.pad]
    for position in range(rows.shape[1]):
        changed = torch.cat([some.index_fill(1, torch.tensor([position]), token) for token in tokens])
        assert task.contains(changed).tolist() == [tuple(row.tolist()) in known for row in changed]


def test_width_does_not_matter(task):
    rows = everything(task)
    wide = torch.cat([rows, torch.full((len(rows), 3), task.pad)], dim=1)
    assert task.contains(wide).all()
    wide[:, -1] = (task.pad + 1) % task.vocab_size
    assert not task.contains(wide).any()
    assert not task.contains(rows[:, :3]).any()


def test_next_tokens_are_those_that_some_input_has_there(task):
    assert isinstance(task, Constrained)
    rows = everything(task)
    some = rows[:: len(rows) // 11]
    possible = task.next_tokens(some)
    for i, row in enumerate(some):
        for t in range(len(task.vocabulary.inner(row)) + 1):
            same = rows[(rows[:, : t + 1] == row[: t + 1]).all(dim=1)]
            assert set(task.used_tokens[possible[i, t]].tolist()) == set(same[:, t + 1].tolist())
    assert set(task.used_tokens.tolist()) == {*rows.unique().tolist(), task.pad}
    ended = task.vocabulary.row(task.vocabulary.inner(rows[0]), rows.shape[1] + 1)[None]
    assert task.next_tokens(ended)[0, -1].all()
    assert task.next_tokens(torch.full((1, 3), 7))[0].all()


def test_after_what_is_no_beginning_anything_can_come():
    task = words()
    row = task.encode("When Alice met Brian in the garden, Brian gave the book to Alice.")
    wrong = row.clone()
    wrong[4] = row[2]
    possible = task.next_tokens(wrong[None])[0]
    assert not possible[3].all()
    assert possible[4:].all()


def test_positions_have_the_names_of_what_stands_there(task):
    row = task.encode("In the school one day, Carol saw Alice, and Alice gave the ring to Carol.")
    shown = task.token_strings(row)
    at = {role: shown[int(task.position_of(row[None], role)[0])] for role in task.roles}
    assert at == {"IO": " Carol", "S1": " Alice", "S1+1": ",", "place": " school", "S2": " Alice", "object": " ring",
                  "END": " to", "answer": " Carol"}  # fmt: skip
    first = task.encode("When Alice met Brian in the garden, Alice gave the book to Brian.")
    assert task.token_strings(first)[int(task.position_of(first[None], "S1+1")[0])] == " met"


def test_roles_and_positions_agree(task):
    rows = everything(task)[::37]
    for row in rows[::2]:
        one, positions = row[None], task.eligible(row[None])[0].nonzero()[:, 0].tolist()
        roles = [task.role(row, position) for position in positions]
        assert [int(task.position_of(one, role)[0]) for role in roles] == positions
    alone = torch.tensor([int(task.position_of(row[None], "END")[0]) for row in rows])
    assert torch.equal(task.position_of(rows, "END"), alone)
    assert (task.position_of(torch.full((2, 9), 7), "END") == -1).all()


def test_the_answer_is_the_indirect_object(task):
    rows = everything(task)
    mask = task.answer_mask(rows)
    assert (mask.sum(dim=1) == 1).all()
    for row, one in list(zip(rows, mask, strict=True))[::9]:
        assert task.vocabulary.text(row[one].tolist()) == f" {value(task, 'IO', row)}"


def test_features_say_what_the_text_says(task):
    row = task.encode("In the school one day, Carol saw Alice, and Alice gave the ring to Carol.")
    found = {name: value(task, name, row) for name in task.features}
    expected = {
        "IO": "Carol", "S": "Alice", "names": "Alice, Carol", "order": "IO first", "place": "school", "object": "ring",
        "IO position": "7", "S1 position": "9", "opening": OPENINGS[1], "ending": ENDINGS[0],
        "position": "1", "token": "'In'",
    }  # fmt: skip
    assert {name: found[name] for name in expected} == expected
    assert found["template"] == OPENINGS[1] + ENDINGS[0]


def test_features_of_a_changed_tensor_are_read_anew(task):
    rows = everything(task)
    some = rows[:3].clone()
    before = codes(task, "IO", some)
    some[:] = rows[-3:]
    assert torch.equal(codes(task, "IO", some), codes(task, "IO", rows[-3:]))
    assert not torch.equal(codes(task, "IO", some), before)
    assert torch.equal(codes(task, "IO", rows[:3]), before)


def test_pairs_and_combinations_are_held_out_and_can_be_told_apart(task):
    rows = everything(task)
    out = task.is_held_out(rows)
    kinds = torch.stack([codes(task, "held out", rows) == code for code in range(4)])
    assert kinds.any(dim=1).all()
    assert torch.equal(out, ~kinds[0])
    assert torch.equal(holds(task, "`held out` != 'no'", rows, torch.ones(len(rows), dtype=torch.long)), out)
    names = torch.stack([codes(task, "IO", rows), codes(task, "S", rows)], dim=1).sort(dim=1).values
    pair = names[:, 0] * 4 + names[:, 1]
    assert not {*pair[kinds[1] | kinds[3]].tolist()} & {*pair[kinds[0] | kinds[2]].tolist()}
    for split, side in (("train", False), ("held-out", True)):
        assert (task.is_held_out(task.sample(50, generator=generator(), split=split)) == side).all()
    assert torch.equal(task.sample(9, generator=generator()), task.sample(9, generator=generator()))
    assert len(task.sample(0, generator=generator())) == 0


FEATURES = ("IO", "S", "order", "place", "object", "template")


@pytest.mark.parametrize(
    ("change", "differs"),
    [(("IO",), {"IO"}), (("S",), {"S"}), (("S1",), {"S"}), (("S2",), {"IO", "S", "order"}), (("order",), {"order"}),
     (("place", "object"), {"place", "object"}), (("IO", "S1"), {"IO", "S"})],
)  # fmt: skip
def test_changes_keep_all_else(task, change, differs):
    assert isinstance(task, Contrastable)
    rows = task.sample(200, generator=generator())
    changed = task.change(rows, change, generator())
    assert task.contains(changed).all()
    moved = {name for name in FEATURES if (codes(task, name, changed) != codes(task, name, rows)).any()}
    assert moved == differs
    outside = torch.full((2, rows.shape[1]), 7)
    assert torch.equal(task.change(outside, change, generator()), outside)


def test_a_flip_gives_the_other_name_and_leaves_the_opening(task):
    assert isinstance(task, Flippable)
    rows = everything(task)
    flipped = task.flip(rows, generator())
    assert task.contains(flipped).all()
    assert torch.equal(codes(task, "IO", flipped), codes(task, "S", rows))
    changed = (flipped != rows).nonzero()[:, 1].view(len(rows), 2)
    assert torch.equal(changed[:, 0], task.position_of(rows, "S2"))
    assert torch.equal(changed[:, 1], task.position_of(rows, "answer"))
    assert torch.equal(task.flip(flipped, generator()), rows)


def test_a_saved_task_is_the_same(task, tmp_path):
    assert isinstance(task, Configured)
    task.save(tmp_path)
    again = get_task("ioi", tmp_path)
    assert torch.equal(everything(task), everything(again))
    assert torch.equal(task.is_held_out(everything(task)), again.is_held_out(everything(task)))
    (tmp_path / "task.json").write_text('{"schema": 1, "files": {}, "lists": 3}')
    with pytest.raises(UserError, match="damaged: lists is missing"):
        get_task("ioi", tmp_path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("When Alice met Alice", "after 'When Alice met' comes ' David', ' Carol', ' Brian', not ' Alice'"),
        ("When Alice met Brian in the garden, Carol", "garden,' comes ' Brian', ' Alice', not ' Carol'"),
        ("When Alice met Brian", "it stops, and after 'When Alice met Brian' comes ' in'"),
        ("", "it is empty; one is 'When Alice met Brian in the garden, Brian gave the book to Alice.'"),
        ("Nothing", "it begins with 'In', 'When', not"),
        ("When Alice met Brian in the garden, Alice gave the map to Brian. So", "it goes on after 'When Alice met"),
        ("When Alice met Brian in the garden, Alice gave the map to Alice.", "to' comes ' Brian', not ' Alice'"),
    ],
)  # fmt: skip
def test_what_is_no_input_is_explained(text, said):
    with pytest.raises(UserError, match="is not an input of ioi") as caught:
        words().encode(text)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_the_task_lacks_is_said(task):
    with pytest.raises(UserError, match="no position 'A1'; its positions are IO S1"):
        task.position_of(everything(task), "A1")
    with pytest.raises(UserError, match="positions are 0 to"):
        task.role(everything(task)[0], 40)
    with pytest.raises(
        UserError, match="ioi can change IO, S, order, A, B, place, object, phrasing, opening, ending, S1, S2, not"
    ):
        task.change(everything(task), ("END",), generator())


def test_words_must_be_single_tokens_that_the_tokenizer_knows():
    vocabulary = words().vocabulary
    few = {**WORDS, "names": ("Alice", "Brian", "Xerxes", "Zoe")}
    with pytest.raises(UserError, match="2 of the 4 names are one token in this tokenizer, and at least 3"):
        TemplateTask.of(short(few), vocabulary)
    with pytest.raises(UserError, match="does not know all words"):
        TemplateTask.of(short(endings=(" {S} lent the {object} to {IO}.",)), vocabulary)


def test_a_word_that_fills_a_slot_may_stand_in_the_phrase_too():
    task = TemplateTask.of(short({**WORDS, "places": ("the", "garden")}), words().vocabulary)
    rows = everything(task)
    assert len({task.decode(row) for row in rows}) == task.size == len(rows)
    assert task.contains(rows).all()
    assert value(task, "place", task.encode("When Alice met Brian in the the, Alice gave the map to Brian.")) == "the"


def test_a_large_vocabulary_has_enough_words_and_too_many_sentences_to_enumerate():
    task = TemplateTask.from_file(bundled()["ioi"], of_bytes())
    for feature, least in (("IO", 100), ("place", 20), ("object", 20)):
        assert len(task.features[feature].values) >= least
    assert task.size is None
    with pytest.raises(UserError, match="too many to enumerate"):
        next(task.enumerate())
    rows = task.sample(30, generator=generator(), split="held-out")
    assert task.contains(rows).all()
    assert torch.isfinite(task.log_prior(rows)).all()
    for row in rows:
        assert torch.equal(task.encode(task.decode(row)), row[: len(task.encode(task.decode(row)))])


def test_the_small_task_has_enough_templates_and_can_be_enumerated():
    task = small_task()
    assert len(task.features["template"].values) >= 16
    assert task.size == 32 * 16 * 15 * 2 * 4 * 5
    assert sum(map(len, task.enumerate())) == task.size
    assert task.max_length <= 22
