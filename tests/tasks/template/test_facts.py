"""Facts, the bundled template: its table, its phrasings, what is held out and what can be changed."""

from __future__ import annotations

import collections
import csv
import functools
import tomllib
import zlib

import pytest
import torch

from inversionview.errors import UserError
from inversionview.studies.recipes import Budget
from inversionview.studies.recipes.facts import probed_facts_small, small_task
from inversionview.tasks.template.file import bundled
from inversionview.tasks.template.task import TemplateTask
from inversionview.tasks.vocabulary import Vocabulary
from tests.tasks.template.tiny import FACTS, write
from tests.tokenizers import byte_tokenizer

HELD_OUT = '[held-out]\ntexts = { one_in = 2, keep = "fact" }\n[changes]\nrelation = { keep = ["subject"] }\n'


@functools.cache
def task() -> TemplateTask:
    return small_task()


@functools.cache
def table() -> list[dict[str, str]]:
    with bundled()["facts"].with_suffix(".csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@functools.cache
def phrasings() -> dict[str, list[str]]:
    """Those of each relation, with no names of words in them."""
    document = tomllib.loads(bundled()["facts"].read_text(encoding="utf-8"))
    relations = [one["when"].split('"')[1] for one in document["phrasings"]]
    return dict(zip(relations, [one["texts"] for one in document["phrasings"]], strict=True))


def text(phrasing: str, fact: dict[str, str]) -> str:
    before, _, rest = phrasing.partition("{relation:")
    word, _, after = rest.partition("}")
    return (before + word + after).format(subject=fact["subject"], object=fact["object"])


@functools.cache
def everything():
    return torch.cat(list(task().enumerate()))


def codes(name, rows):
    return task().features[name].compute(rows, torch.ones(len(rows), dtype=torch.long))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_it_says_where_the_facts_are_from():
    assert bundled()["facts"].read_text(encoding="utf-8").count("licence") == 2


def test_facts_have_one_answer_each_of_one_word():
    assert 1000 <= len(table()) <= 2500
    assert len({(fact["relation"], fact["subject"]) for fact in table()}) == len(table())
    assert all(len(fact["object"].split()) == 1 and 1 <= len(fact["subject"].split()) <= 3 for fact in table())
    assert not any(cell != cell.strip() for fact in table() for cell in fact.values())
    known = {(fact["relation"], fact["subject"]): fact["object"] for fact in table()}
    assert known["capital", "France"] == "Paris"
    assert known["currency", "Japan"] == "yen"
    assert known["language", "Brazil"] == "Portuguese"
    kinds = {(fact["relation"], fact["kind"]) for fact in table()}
    assert len(kinds) == len({relation for relation, _ in kinds}) == len(phrasings())


def test_every_relation_is_said_in_several_ways_each_with_a_word_that_names_it():
    for texts in phrasings().values():
        assert len(set(texts)) == len(texts) >= 6
        assert all(one.count("{relation:") == 1 for one in texts)


def test_the_domain_is_every_fact_in_every_phrasing_of_its_relation():
    expected = [text(phrasing, fact) for fact in table() for phrasing in phrasings()[fact["relation"]]]
    assert [task().decode(row) for row in everything()] == expected
    assert task().size == len(set(expected)) == len(expected)


def test_a_quarter_of_the_texts_is_held_out_and_of_each_fact_the_largest_hash_never():
    groups = collections.defaultdict(list)
    for fact in table():
        for phrasing in phrasings()[fact["relation"]]:
            groups[fact["relation"], fact["subject"]].append(zlib.crc32(text(phrasing, fact).encode()))
    expected = [number % 4 == 0 and number != max(group) for group in groups.values() for number in group]
    assert task().is_held_out(everything()).tolist() == expected
    assert 0.18 < sum(expected) / len(expected) < 0.25
    for split, side in (("train", False), ("held-out", True)):
        drawn = task().sample(200, generator=generator(), split=split)
        assert (task().is_held_out(drawn) == side).all()
        assert len({tuple(row) for row in drawn.tolist()}) > 190


def test_positions_have_the_names_of_what_stands_there():
    row = task().encode("Asked for the capital of Saudi Arabia, they said Riyadh.")
    shown = task().token_strings(row)
    at = {role: shown[int(task().position_of(row[None], role)[0])] for role in task().roles}
    assert at == {"subject_first": " Saudi", "subject_last": " Arabia", "relation": " capital", "END": " said",
                  "object": " Riyadh"}  # fmt: skip
    same = task().encode("The currency of Japan is the yen.")
    assert task().role(same, int(task().position_of(same[None], "subject_first")[0])) == "subject_last"


def test_features_say_what_the_text_says():
    rows = task().sample(50, generator=generator())
    known = {(fact["relation"], fact["subject"]): fact for fact in table()}
    said = {name: [task().features[name].values[int(code)] for code in codes(name, rows)] for name in task().features}
    assert list(said) == ["relation", "subject", "object", "object kind", "phrasing", "token", "position"]
    for i, row in enumerate(rows):
        fact = known[said["relation"][i], said["subject"][i]]
        assert (said["object"][i], said["object kind"][i]) == (fact["object"], fact["kind"])
        assert said["phrasing"][i].format(subject=fact["subject"], object=fact["object"]) == task().decode(row)


def test_changes_keep_what_they_should():
    rows = task().sample(300, generator=generator())
    kept = {"subject": ("phrasing", "relation"), "relation": ("subject",),
            "phrasing": ("relation", "subject", "object")}  # fmt: skip
    for change, names in kept.items():
        changed = task().change(rows, (change,), generator())
        assert task().contains(changed).all()
        assert (changed != rows).any()
        for name in task().features.keys() - {"token", "position", "object kind"}:
            assert torch.equal(codes(name, changed), codes(name, rows)) == (name in names), (change, name)
    with pytest.raises(UserError, match="facts can change relation, subject, object, phrasing, not colour"):
        task().change(rows, ("colour",), generator())


def test_another_relation_is_any_text_of_the_same_subject(tmp_path):
    small = TemplateTask.from_file(write(tmp_path, FACTS.toml + HELD_OUT), byte_tokenizer())
    texts = [small.decode(row) for rows in small.enumerate() for row in rows]
    for start in texts:
        row = small.encode(start)[None].repeat(200, 1)
        wide = torch.nn.functional.pad(row, (0, small.max_length - row.shape[1]), value=small.pad)
        drawn = {small.decode(one) for one in small.change(wide, ("relation",), generator())}
        subject = next(name for name in ("France", "Costa Rica", "Peru") if name in start)
        assert drawn == {one for one in texts if subject in one}


def test_of_each_fact_a_text_stays_for_training(tmp_path):
    small = TemplateTask.from_file(write(tmp_path, FACTS.toml + HELD_OUT), byte_tokenizer())
    rows = torch.cat(list(small.enumerate()))
    hashes = [zlib.crc32(small.decode(row).encode()) for row in rows]
    facts = [0, 0, 1, 1, 2, 2, 3, 4]
    largest = [max(one for one, other in zip(hashes, facts, strict=True) if other == fact) for fact in facts]
    out = small.is_held_out(rows).tolist()
    assert out == [one % 2 == 0 and one != most for one, most in zip(hashes, largest, strict=True)]
    assert small.features["held out"].values == ("no", "yes")
    with pytest.raises(UserError, match=r"held-out\.texts: there is no text to hold out for which another of the same"):
        TemplateTask.from_file(write(tmp_path, FACTS.toml + HELD_OUT.replace("2", "9999999")), byte_tokenizer())


def test_the_small_model_fits_its_table():
    recipe = probed_facts_small(Budget(steps=1))
    assert recipe.model["vocab_size"] == task().vocab_size
    assert recipe.model["n_positions"] == task().max_length
    assert [recipe.model[f"{name}_token_id"] for name in ("bos", "eos", "pad")] == [
        task().begin, task().end, task().pad
    ]  # fmt: skip


def test_all_facts_can_be_said_in_a_tokenizer_of_bytes():
    assert TemplateTask.from_file(bundled()["facts"], Vocabulary(byte_tokenizer())).size == task().size
