"""The table that the package brings, and the phrasings."""

from __future__ import annotations

import pytest

from inversionview.errors import UserError
from inversionview.files import read_json
from inversionview.studies.recipes import Budget
from inversionview.studies.recipes.facts import probed_facts_small, small_task
from inversionview.tasks.facts.tables import BEAR, KINDS, OWN, TABLE, Fact, FactTable, Phrasing


def test_the_bundled_table_says_where_it_is_from():
    assert all("licence" in source for source in read_json(TABLE, "table")["sources"])


def test_the_bundled_facts_have_one_answer_each_of_one_word():
    facts = FactTable.bundled().facts
    assert 1000 <= len(facts) <= 2500
    assert len({(fact.relation, fact.subject) for fact in facts}) == len(facts)
    assert all(len(fact.object.split()) == 1 and 1 <= len(fact.subject.split()) <= 3 for fact in facts)
    assert {fact.relation for fact in facts} == set(OWN) == set(KINDS)
    known = {(fact.relation, fact.subject): fact.object for fact in facts}
    assert known["capital", "France"] == "Paris"
    assert known["currency", "Japan"] == "yen"
    assert known["language", "Brazil"] == "Portuguese"


def test_every_relation_is_said_in_several_ways():
    for texts in OWN.values():
        parsed = [Phrasing.parse(text) for text in texts]
        assert len(set(map(str, parsed))) == len(texts) >= 6
        assert all(phrasing.named for phrasing in parsed)
    for texts in BEAR.values():
        assert len({str(Phrasing.parse(text)) for text in texts}) >= 2


def test_a_phrasing_knows_its_parts():
    phrasing = Phrasing.parse("In {subject} they *pay* with the {object}!")
    assert (phrasing.before, phrasing.between, phrasing.after) == ("In ", " they pay with the ", "!")
    assert phrasing.named == "pay"
    table = FactTable((Fact("money", "Peru", "sol", "currency"),), (phrasing,), ((0, 0),))
    (said,) = table.statements()
    assert said.text == "In Peru they pay with the sol!"
    assert [said.text[a:b] for a, b in (said.subject, said.object, said.relation)] == ["Peru", "sol", "pay"]


@pytest.mark.parametrize("text", ["{object} of {subject}.", "Nothing.", "{subject} {subject} {object}", "{subject}"])
def test_a_phrasing_needs_subject_and_object_in_order(text):
    with pytest.raises(UserError, match="must have"):
        Phrasing.parse(text)


def test_a_relation_without_phrasings_is_named():
    with pytest.raises(UserError, match="no phrasing of the relation 'age'"):
        FactTable.of_relations([Fact("age", "he", "3", "number")], {})


def test_a_table_is_kept(tmp_path):
    table = FactTable.bundled()
    table.save(tmp_path / "facts.json")
    assert FactTable.load(tmp_path / "facts.json") == table


def test_the_small_model_fits_its_table():
    task, recipe = small_task(), probed_facts_small(Budget(steps=1))
    assert recipe.model["vocab_size"] == task.vocab_size
    assert recipe.model["n_positions"] == task.max_length
    assert [recipe.model[f"{name}_token_id"] for name in ("bos", "eos", "pad")] == [task.begin, task.end, task.pad]
