"""Facts: a finite domain of texts, for a tokenizer of words and for one of bytes as GPT-2's is."""

from __future__ import annotations

import pytest
import torch

from inversionview.errors import UserError
from inversionview.studies.verbs.query import find_position
from inversionview.tasks import Configured, Constrained, get_task
from inversionview.tasks.facts.tables import Fact, FactTable
from inversionview.tasks.facts.task import FactsTask
from inversionview.tasks.vocabulary import Vocabulary, word_tokenizer
from tests.tasks.facts.tiny import FACTS, PHRASINGS, small_table
from tests.tokenizers import byte_tokenizer


def words() -> FactsTask:
    table = small_table()
    return FactsTask(Vocabulary(word_tokenizer(said.text for said in table.statements())), table)


def pieces() -> FactsTask:
    return FactsTask(Vocabulary(byte_tokenizer()), small_table())


@pytest.fixture(params=[words, pieces])
def task(request):
    return request.param()


def everything(task):
    return torch.cat(list(task.enumerate(block=5)))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_the_domain_is_every_fact_in_every_phrasing(task):
    texts = [task.decode(row) for row in everything(task)]
    assert len(set(texts)) == task.size == 3 * 3 + 3 * 4
    assert "In Costa Rica lies the capital San José." in texts
    assert task.contains(everything(task)).all()
    assert torch.exp(task.log_prior(everything(task))).sum() == pytest.approx(1)


def test_texts_go_to_tokens_and_back(task):
    for row in everything(task):
        text = task.decode(row)
        assert torch.equal(task.encode(text), row[: len(task.encode(text))])
        assert torch.equal(task.encode(text.removesuffix(".")), task.encode(text))
        assert "".join(task.token_strings(row)[1:-1]) == text or "�" in "".join(task.token_strings(row))


def test_a_changed_token_leads_out_of_the_domain(task):
    rows = everything(task)
    known = {tuple(row.tolist()) for row in rows}
    for position in range(rows.shape[1]):
        for token in range(8):
            changed = rows.clone()
            changed[:, position] = token
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
    possible = task.next_tokens(rows)
    for i, row in enumerate(rows):
        for t in range(len(task.vocabulary.inner(row)) + 1):
            same = rows[(rows[:, : t + 1] == row[: t + 1]).all(dim=1)]
            assert set(task.used_tokens[possible[i, t]].tolist()) == set(same[:, t + 1].tolist())
    assert set(task.used_tokens.tolist()) == {*rows.unique().tolist(), task.pad}
    ended = task.vocabulary.row(task.vocabulary.inner(rows[0]), rows.shape[1] + 1)[None]
    assert task.next_tokens(ended)[0, -1].all()
    assert task.next_tokens(torch.full((1, 3), 7))[0].all()


def test_positions_have_the_names_of_what_stands_there(task):
    row = task.encode("In Costa Rica lies the capital San José.")
    shown = task.token_strings(row)
    at = {role: shown[task.find(row, role)] for role in task.roles}
    assert at["subject_first"] == " Costa"
    assert at["subject_last"] == " Rica"
    assert at["relation"] == " capital"
    assert at["object"].startswith(" San")
    assert task.find(row, "END") == task.find(row, "relation") == task.find(row, "object") - 1
    assert find_position(task, row, "relation") == find_position(task, row, "END")


def test_roles_and_positions_agree(task):
    rows = everything(task)
    for row in rows:
        for position in task.eligible(row[None])[0].nonzero()[:, 0].tolist():
            assert int(task.position_of(row[None], task.role(row, position))[0]) == position
    several = torch.tensor([task.find(row, "END") for row in rows])
    assert torch.equal(task.position_of(rows, "END"), several)


def test_the_answer_is_the_object(task):
    rows = everything(task)
    for row, mask in zip(rows, task.answer_mask(rows), strict=True):
        said = task.features["object"].values[int(task.features["object"].compute(row[None], torch.ones(1).long())[0])]
        assert task.vocabulary.text(row[mask].tolist()).strip() == said


def test_features_say_what_the_text_says(task):
    row = task.encode("The capital of Costa Rica is San José.")[None]
    at = torch.tensor([1])
    found = {name: feature.values[int(feature.compute(row, at)[0])] for name, feature in task.features.items()}
    assert found["relation"] == "capital"
    assert found["subject"] == "Costa Rica"
    assert found["object"] == "San José"
    assert found["object kind"] == "city"
    assert found["phrasing"] == "The capital of {subject} is {object}."
    assert found["token"] == "'The'"


def test_phrasings_are_held_out_and_every_fact_keeps_some(task):
    rows = everything(task)
    out = task.is_held_out(rows)
    assert out.any()
    fact = task.rows.fact
    assert set(fact[~out].tolist()) == set(fact.tolist())
    for split, side in (("train", False), ("held-out", True)):
        assert (task.is_held_out(task.sample(50, generator=generator(), split=split)) == side).all()
    assert torch.equal(task.sample(9, generator=generator()), task.sample(9, generator=generator()))


def test_changes_keep_what_they_should(task):
    rows = task.sample(200, generator=generator())

    def codes(name, tokens):
        return task.features[name].compute(tokens, torch.ones(len(tokens), dtype=torch.long))

    for change, kept in (("subject", "phrasing"), ("relation", "subject"), ("phrasing", "relation")):
        changed = task.change(rows, (change,), generator())
        assert task.contains(changed).all()
        assert torch.equal(codes(kept, changed), codes(kept, rows))
        assert (changed != rows).any()
    with pytest.raises(UserError, match="one of subject, relation, phrasing, not colour"):
        task.change(rows, ("colour",), generator())


def test_a_saved_task_is_the_same(task, tmp_path):
    assert isinstance(task, Configured)
    task.save(tmp_path)
    again = get_task("fact-table", tmp_path)
    assert torch.equal(everything(task), everything(again))
    assert torch.equal(task.is_held_out(everything(task)), again.is_held_out(everything(task)))
    (tmp_path / "facts.json").write_text('{"schema": 1, "facts": 3}')
    with pytest.raises(UserError, match="damaged"):
        get_task("fact-table", tmp_path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("The capital of France is Rome.", "after 'The capital of France is' comes ' Paris', not ' Rome"),
        ("The capital of Frence is Paris.", "after 'The capital of' comes ' France'"),
        ("The capital of France is", "it stops, and after 'The capital of France is' comes ' Paris'"),
        ("", "it is empty; one is 'The capital of France is Paris.'"),
        ("Nothing", "it begins with"),
        ("The capital of France is Paris. So", "it goes on after 'The capital of France is Paris.'"),
    ],
)
def test_what_is_no_input_is_explained(text, said):
    with pytest.raises(UserError, match=r"is not an input of fact-table") as caught:
        words().encode(text)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_facts_lack_is_said(task):
    with pytest.raises(UserError, match="no position 'A1'; their positions are subject_first"):
        task.position_of(everything(task), "A1")
    with pytest.raises(UserError, match="positions are 0 to"):
        task.role(everything(task)[0], 40)
    with pytest.raises(UserError, match="fewer than 3 tokens"):
        FactsTask(task.vocabulary, small_table(), length=3)
    one = FactTable.of_relations(FACTS[:1], {"capital": PHRASINGS["capital"][:1]})
    with pytest.raises(UserError, match="two phrasings or more"):
        FactsTask(task.vocabulary, one)


def test_longer_texts_can_be_left_out(task):
    short = FactsTask(task.vocabulary, small_table(), length=task.max_length - 2)
    assert 0 < short.size < task.size
    assert short.max_length < task.max_length


def named(
    *facts: Fact, phrasings: tuple[str, ...] = tuple(f"By way {i}, {{subject}} has {{object}}." for i in range(9))
):
    table = FactTable.of_relations(facts, dict.fromkeys({fact.relation for fact in facts}, phrasings))
    return FactsTask(Vocabulary(byte_tokenizer()), table)


def test_all_names_of_a_subject_are_on_one_side():
    names = ("Kingdom of Morocco", "Maroc", "MAR")
    task = named(
        *(Fact("P36", f"Morocco {i}", "Rabat", "city", tuple(f"{name} {i}" for name in names)) for i in range(9))
    )
    assert task.size == 9 * 9 * 4
    rows = everything(task)
    out = task.is_held_out(rows)
    assert 0.1 < out.float().mean() < 0.4
    for fact in range(9):
        for phrasing in range(9):
            those = (task.rows.fact == fact) & (task.rows.phrasing == phrasing)
            assert those.sum() == 4
            assert len(out[those].unique()) == 1
        assert not out[task.rows.fact == fact].all()
    alone = named(*(Fact("P36", f"Morocco {i}", "Rabat", "city") for i in range(9)))
    by_label = task.index(everything(alone))
    assert torch.equal(out[by_label], alone.is_held_out(everything(alone)))


def test_facts_of_two_sources_that_share_a_name_are_on_one_side():
    first = Fact("P36", "Netherlands", "Amsterdam", "city", ("Holland",))
    second, third = Fact("P36", "Holland", "Amsterdam", "city", ("NL",)), Fact("P36", "NL", "Amsterdam", "city")
    other = Fact("P36", "Holland", "The Hague", "city")
    task = named(first, second, third, other)
    assert task.size == 9 * 4  # each text once
    rows = everything(task)
    texts, out = [task.decode(row) for row in rows], task.is_held_out(rows)
    sides = {}
    for text, side in zip(texts, out.tolist(), strict=True):
        if "Amsterdam" in text:
            sides.setdefault(text[:9], set()).add(side)
    assert all(len(side) == 1 for side in sides.values())
    assert {True, False} <= set.union(*sides.values())


def test_a_subject_has_a_name_to_change_where_it_has_several(tmp_path):
    task = named(Fact("P36", "Morocco", "Rabat", "city", ("Maroc",)), Fact("P36", "Peru", "Lima", "city"))
    assert task.features["name"].values == ("Maroc", "Morocco", "Peru")
    assert "name" not in pieces().features
    rows, ones = task.sample(60, generator=generator()), torch.ones(60, dtype=torch.long)
    codes = {name: task.features[name].compute(rows, ones) for name in ("subject", "phrasing", "name")}
    for role, kept, changes in (
        ("name", ("subject", "phrasing"), "name"),
        ("phrasing", ("subject", "name"), "phrasing"),
    ):
        changed = task.change(rows, (role,), generator())
        assert task.contains(changed).all()
        assert all(torch.equal(task.features[name].compute(changed, ones), codes[name]) for name in kept)
        assert not torch.equal(task.features[changes].compute(changed, ones), codes[changes])
    task.save(tmp_path)
    again = FactsTask.load(tmp_path)
    assert (again.table, again.size) == (task.table, task.size)
    assert torch.equal(again.held_out, task.held_out)


def test_tables_are_merged_fact_by_fact():
    bear = FactTable.of_relations([Fact("P36", "Peru", "Lima", "city", ("PE",))], {"P36": ["{subject} has {object}."]})
    other = FactTable.of_relations(
        [Fact("P36", "Peru", "Lima", "city", ("República",)), Fact("P36", "Togo", "Lomé", "city")],
        {"P36": ["{subject} has {object}.", "In {subject} is {object}."]},
    )
    merged = FactTable.merged([bear, other])
    assert [(fact.subject, fact.aliases) for fact in merged.facts] == [("Peru", ("PE", "República")), ("Togo", ())]
    assert len(merged.phrasings) == 2
    assert len([*merged.statements()]) == 3 * 2 + 2
