"""Facts from BEAR and COUNTERFACT, in their published formats."""

from __future__ import annotations

import json

import pytest

from inversionview.errors import UserError
from inversionview.tasks.facts.files import read_bear, read_facts
from inversionview.tasks.facts.tables import BEAR
from tests.paths import SHARED
from tests.tasks.facts.files import bear_fact, counterfact, known_fact, large_bear, texts


def test_bear_with_templates_of_its_own(tmp_path):
    (tmp_path / "P36.jsonl").write_text(bear_fact("Peru", "Lima") + "\n" + bear_fact("Togo", "Lomé") + "\n", "utf-8")
    templates = ["[Y] is the capital of [X].", "The capital of [X] is [Y].", "[X] has [Y] for its capital."]
    (tmp_path / "metadata_relations.json").write_text(json.dumps({"P36": {"templates": templates}}))
    assert texts(read_facts(tmp_path)) == [
        "The capital of Peru is Lima.", "Peru has Lima for its capital.", "The capital of Togo is Lomé.",
        "Togo has Lomé for its capital.",
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
    with pytest.raises(UserError, match="no template with the subject before the object"):
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
        "Danielle Darrieux spoke the language French.",
        "The mother tongue of Thomas Joannes Stieltjes is Dutch.",
    ]
    assert table.uses[0][1] == table.uses[2][1]


def test_bear_by_all_names_of_its_subjects_in_ascii(tmp_path):
    (tmp_path / "P36.jsonl").write_text(bear_fact("Perú", "Lima", ["Peru", "🇵🇪", "PE", "Perú", " "]), "utf-8")
    (tmp_path / "metadata_relations.json").write_text(
        json.dumps({"P36": {"templates": ["The capital of [X] is [Y]."]}})
    )
    table = read_facts(tmp_path)
    assert len(table.facts) == 1
    assert texts(table) == [f"The capital of {name} is Lima." for name in ("Perú", "Peru", "PE")]
    assert [said.text[slice(*said.subject)] for said in table.statements()] == ["Perú", "Peru", "PE"]


def test_counterfact_with_its_prompts_about_others(tmp_path, caplog):
    darrieux = counterfact(
        "Danielle Darrieux",
        "The mother tongue of {} is",
        "French",
        ["Rain fell. Danielle Darrieux, a native", "Who? Danielle Darrieux spoke the language"],
    )
    stieltjes = counterfact(
        "Thomas J. Stieltjes",
        "The mother tongue of {} is",
        "Dutch",
        ["Category:Men Thomas J. Stieltjes, a native", "Thomas J. Stieltjes was. Thomas J. Stieltjes, a"],
    )
    darrieux["neighborhood_prompts"] = ["The mother tongue of Léon Blum is", "François Bayrou, a native", "Elle parle"]
    darrieux["attribute_prompts"] = ["The mother tongue of Dylan Thomas is", "Tom Jones spoke the language"]
    (tmp_path / "counterfact.json").write_text(json.dumps([darrieux, stieltjes]))
    with caplog.at_level("WARNING"):
        table = read_facts(tmp_path / "counterfact.json")
    said = texts(table)
    assert said == [
        "The mother tongue of Danielle Darrieux is French.",
        "Danielle Darrieux, a native French.",
        "Who? Danielle Darrieux spoke the language French.",
        "The mother tongue of Léon Blum is French.",
        "François Bayrou, a native French.",
        "The mother tongue of Dylan Thomas is Welsh.",
        "The mother tongue of Thomas J. Stieltjes is Dutch.",
        "Thomas J. Stieltjes, a native Dutch.",
        "Thomas J. Stieltjes, a Dutch.",
    ]
    assert {fact.subject: fact.object for fact in table.facts}["Dylan Thomas"] == "Welsh"
    assert "2 of 5 neighbourhood and attribute prompts" in caplog.text  # a paraphrase of one subject is no phrasing
    assert len({said.phrasing for said in table.statements() if "mother tongue" in said.text}) == 1


def test_a_neighbour_that_two_entries_have_is_one_fact_and_the_longest_phrasing_names_the_subject(tmp_path):
    entries = [counterfact(name, prompt, "French", []) for name, prompt in
               (("A", "{} is"), ("B", "The mother tongue of {} is"), ("C", "{} is a native speaker of"))]  # fmt: skip
    for entry in entries:
        entry["neighborhood_prompts"] = ["The mother tongue of Léon Blum is", "Léon Blum is a native speaker of"]
    (tmp_path / "counterfact.json").write_text(json.dumps(entries))
    table = read_facts(tmp_path / "counterfact.json")
    assert [fact.subject for fact in table.facts] == ["A", "Léon Blum", "B", "C"]
    assert sum(table.facts[fact].subject == "Léon Blum" for fact, _ in table.uses) == 2


def test_the_known_facts_of_counterfact(tmp_path):
    entries = [known_fact("Vinson Massif", "Vinson Massif is located in the continent of", "Antarctica"),
               known_fact("Beats Music", "Beats Music is owned by", "Apple")]  # fmt: skip
    (tmp_path / "known_1000.json").write_text(json.dumps(entries))
    said = [*read_facts(tmp_path / "known_1000.json").statements()]
    assert [one.text for one in said] == ["Vinson Massif is located in the continent of Antarctica.",
                                          "Beats Music is owned by Apple."]  # fmt: skip
    assert [one.text[slice(*one.object)] for one in said] == ["Antarctica", "Apple"]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("known.json", '[{"known_id": 0, "subject": "Peru"}]', "entry 0 of"),
        ("bear/P36.jsonl", '{"sub_label": "Peru", "obj_label": "Lima", "sub_aliases": [3]}', "is no fact of BEAR"),
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
