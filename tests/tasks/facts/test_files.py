"""Facts from BEAR and COUNTERFACT, in their published formats."""

from __future__ import annotations

import json

import pytest

from inversionview.errors import UserError
from inversionview.tasks.facts.files import read_bear, read_facts
from inversionview.tasks.facts.tables import BEAR
from tests.paths import SHARED
from tests.tasks.facts.files import bear_fact, counterfact, large_bear, texts


def test_bear_with_templates_of_its_own(tmp_path):
    (tmp_path / "P36.jsonl").write_text(bear_fact("Peru", "Lima") + "\n" + bear_fact("Togo", "Lomé") + "\n", "utf-8")
    templates = ["[Y] is the capital of [X].", "The capital of [X] is [Y].", "[X] has the capital [Y]"]
    (tmp_path / "metadata_relations.json").write_text(json.dumps({"P36": {"templates": templates}}))
    assert texts(read_facts(tmp_path)) == [
        "The capital of Peru is Lima.", "Peru has the capital Lima", "The capital of Togo is Lomé.",
        "Togo has the capital Lomé",
    ]  # fmt: skip


def test_bear_without_templates_takes_ours(tmp_path):
    (tmp_path / "BEAR").mkdir()
    for name in ("P36", "P9999"):
        (tmp_path / "BEAR" / f"{name}.jsonl").write_text(bear_fact("Peru", "Lima") + "\n")
    table = read_facts(tmp_path)
    assert {fact.relation for fact in table.facts} == {"P36"}
    assert "The capital of Peru is Lima." in texts(table)
    with pytest.raises(UserError, match="no relation P1; it has: P36, P9999"):
        read_bear(tmp_path, ["P1"])
    with pytest.raises(UserError, match="no template with the object last"):
        read_bear(tmp_path, ["P9999"])


def test_counterfact_with_its_paraphrases(tmp_path):
    entries = [
        counterfact("Danielle Darrieux", "The mother tongue of {} is", "French",
                    ["Rain fell. Danielle Darrieux spoke the language", "She spoke"]),
        counterfact("Thomas Joannes Stieltjes", "The mother tongue of {} is", "Dutch", []),
    ]  # fmt: skip
    (tmp_path / "counterfact.json").write_text(json.dumps(entries))
    table = read_facts(tmp_path / "counterfact.json")
    assert texts(table) == [
        "The mother tongue of Danielle Darrieux is French.",
        "Rain fell. Danielle Darrieux spoke the language French.",
        "The mother tongue of Thomas Joannes Stieltjes is Dutch.",
    ]
    assert table.uses[0][1] == table.uses[2][1]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("nothing", None, "is not there: give a folder of BEAR"),
        ("texts.txt", "some text", "is neither a folder nor a .json file"),
        ("facts.json", "{}", "should be a list of facts"),
        ("facts.json", '[{"prompt": 1}]', "entry 0 of"),
        ("facts.json", "[", "damaged"),
        ("bear/P36.jsonl", '{"sub_label": 1', "line 1 of"),
        ("bear/other.txt", "", "no files such as BEAR/P36.jsonl"),
    ],
)
def test_other_files_are_refused_in_one_line(tmp_path, name, content, said):
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    if content is not None:
        path.write_text(content)
    with pytest.raises(UserError) as caught:
        read_facts(path.parent if name.startswith("bear") else path)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def check_many(table):
    assert len(table.facts) > 2000
    assert len({fact.relation for fact in table.facts}) > 20
    assert len(texts(table)) > 1.9 * len(table.facts)


def test_every_relation_that_there_are_phrasings_of_is_read(tmp_path):
    table = read_facts(large_bear(tmp_path))
    check_many(table)
    assert {fact.relation for fact in table.facts} == set(BEAR)


@pytest.mark.published("data/bear")
def test_bear_as_it_is_published():
    check_many(read_facts(SHARED / "data" / "bear"))
