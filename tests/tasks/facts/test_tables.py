"""Tables of facts, and the phrasings."""

from __future__ import annotations

import pytest

from inversionview.errors import UserError
from inversionview.tasks.facts.tables import BEAR, Fact, FactTable, Phrasing
from tests.tasks.facts.tiny import small_table


def test_every_property_is_said_in_several_ways():
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
    table = small_table()
    table.save(tmp_path / "facts.json")
    assert FactTable.load(tmp_path / "facts.json") == table
