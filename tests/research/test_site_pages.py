"""The pages of the two small language models: what is measured of tiny models, and what is said of given numbers."""

from __future__ import annotations

import copy
import json
import re

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from inversionview.causal.logit_attribution import logit_attribution
from inversionview.probed.model import ProbedModel
from inversionview.studies.description import TASK, StudyDescription, write_description
from inversionview.studies.study import Study, load_study
from inversionview.tasks.template.file import bundled, read_template
from inversionview.tasks.template.task import TemplateTask
from inversionview.tasks.vocabulary import Vocabulary, word_tokenizer
from research import facts_page, facts_study, ioi_page, ioi_study, site_page, site_study
from research.claims import BitsOfEach, Measured, MovesOfEach
from tests.tasks.facts.files import large_bear
from tests.tasks.template.ioi import words
from tests.tokenizers import byte_tokenizer

pytestmark = pytest.mark.slow
FACTS = [
    (relation, subject, found, kind)
    for subject, capital, people in (
        ("France", "Paris", "French"), ("Costa Rica", "San José", "Ticos"), ("Peru", "Lima", "Peruvian"),
        ("Kenya", "Nairobi", "Kenyan"), ("Japan", "Tokyo", "Japanese"),
    )
    for relation, found, kind in (("capital", capital, "city"), ("people", people, "people"))
]  # fmt: skip
PHRASINGS = {
    "capital": ["The {relation:capital} of {subject} is {object}.",
                "In {subject} lies the {relation:capital} {object}.",
                "Who {relation:rules} {subject} sits in {object}."],
    "people": ["The {relation:people} of {subject} are {object}.", "Who {relation:lives} in {subject} is {object}.",
               "As for {subject}, its {relation:children} are {object}."],
}  # fmt: skip


def random_study(folder, task, layers) -> Study:
    """A study without a decoder of a model with random weights, 4 heads a layer."""
    config = GPT2Config(
        vocab_size=task.vocab_size, n_positions=task.max_length, n_embd=16, n_layer=layers, n_head=4,
        bos_token_id=task.begin, eos_token_id=task.end,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = GPT2LMHeadModel(config)
        for parameter in model.parameters():
            parameter.data.add_(0.3 * torch.randn_like(parameter))
    model.save_pretrained(folder / "probed")
    task.tokenizer.save_pretrained(folder / "probed")
    task.save(folder / TASK)
    probed = ProbedModel(model, task.tokenizer, convention="tl")
    sites = tuple(str(site) for site in probed.sites if site.kind in ("head", "mlp_out", "resid_post"))
    described = StudyDescription(
        "tiny", task.name, "tl", sites, "euclidean", 0.5, "probed", probed.fingerprint, decoder=None
    )
    write_description(folder, described)
    return load_study(folder)


@pytest.fixture(scope="module")
def names(tmp_path_factory):
    """A study of sentences, and what was measured of it."""
    study = random_study(tmp_path_factory.mktemp("names"), words(), layers=3)
    return study, ioi_study.measured(study, 60, 3)


@pytest.fixture(scope="module")
def facts(tmp_path_factory):
    """A study of facts, and what was measured of it."""
    folder = tmp_path_factory.mktemp("facts")
    head, _, _ = bundled()["facts"].read_text(encoding="utf-8").partition("[[phrasings]]")
    said = [
        f"[[phrasings]]\nwhen = 'relation == \"{relation}\"'\ntexts = {json.dumps(texts)}\n"
        for relation, texts in PHRASINGS.items()
    ]
    (folder / "facts.toml").write_text(head + "".join(said), encoding="utf-8")
    rows = [("relation", "subject", "object", "kind"), *FACTS]
    (folder / "facts.csv").write_text("".join(",".join(row) + "\n" for row in rows), encoding="utf-8")
    declared = read_template(folder / "facts.toml")
    task = TemplateTask.of(declared, Vocabulary(word_tokenizer(declared.words)))
    study = random_study(folder, task, layers=4)
    return study, facts_study.measured(study, 300, 4)


def test_bits_are_those_of_the_map(names):
    study, found = names
    tokens = site_study.drawn(study, 3)
    cell = next(cell for cell in found["map"]["cells"] if (cell["site"], cell["at"]) == ("a1.2", "END"))
    exact = study.exact_preimages([study.query(study.task.decode(row), "END", "a1.2") for row in tokens])
    known = [next(bits for bits in preimage.bits if bits.name == "names").bits for preimage in exact]
    assert cell["bits"]["names"]["bits"] == pytest.approx(sum(known) / 3, abs=1e-6)
    assert cell["bits"]["names"]["of"] == pytest.approx(2.585, abs=1e-3), "six pairs of four names"


def test_a_name_is_ranked_by_its_own_word_among_those_of_the_names(names):
    study, found = names
    task, tokens = study.task, site_study.drawn(study, 10, split="held-out")
    added = logit_attribution(study.probed, tokens, "m2", task.position_of(tokens, "END")).values
    words = {name: task.vocabulary.ids(f" {name}")[0] for name in task.features["IO"].values}
    ranks = []
    for row, values in zip(tokens, added, strict=True):
        said = re.findall("|".join(words), task.decode(row))[-1]
        ranks.append(sum(float(values[other]) > float(values[words[said]]) for other in words.values()))
    shown = site_page.attributed(found, "m2", "END")["IO"]
    assert shown["rank"] == pytest.approx(sum(ranks) / 10)
    assert shown["raised"] == pytest.approx(ranks.count(0) / 10)
    assert shown["lowered"] == pytest.approx(ranks.count(3) / 10)


def test_attention_goes_somewhere(names):
    _, found = names
    heads = found["attention"]["heads"]
    assert set(heads) == {f"a{layer}.{head}" for layer in range(3) for head in range(4)}
    for looks in heads.values():
        assert 0 < sum(looks["END"]["to"].values()) <= 1
        assert looks["END"]["word"][1] <= 1


def test_the_whole_stream_is_the_whole_effect(names, facts):
    for (_, found), last in ((names, "x2.post"), (facts, "x3.post")):
        for setting in found["patching"]:
            assert site_page.moved(found, setting, last, "END") == pytest.approx(1, abs=1e-4)


def test_accuracy_is_of_what_was_held_out(names, facts):
    study, found = facts
    held = study.task.is_held_out(torch.cat(list(study.task.enumerate())))
    counted = {name: sum(one[name] for one in found["accuracy"].values()) for name in ("facts", "held_out", "train")}
    assert counted == {"facts": len(FACTS), "held_out": int(held.sum()), "train": int((~held).sum())}
    assert sum(one["n"] for one in names[1]["accuracy"].values()) == 60


def test_the_pages_hold_every_site_and_part(names, facts):
    for page, (_, found) in ((ioi_page, names), (facts_page, facts)):
        text = page.page(found)
        assert all(f"| `{site}` |" in text for site in site_page.sites_of(found))
        assert "nan" not in text
        assert "None" not in text
        assert "What the decoder finds" not in text, "there is none"


def test_parts_go_by_their_rules_and_those_that_nobody_plays_come_first(names):
    found = copy.deepcopy(names[1])
    for cell in found["map"]["cells"]:
        share = 0.95 if (cell["site"], cell["at"]) == ("m1", "END") else 0.3
        for name, bits in cell["bits"].items():
            bits["bits"] = bits["of"] * (share if name == "IO" else 0.1)
    holds_io, holds_s, holds_one = ioi_page.PARTS[:3]
    assert ioi_page.players(found, holds_io) == ["m1"]
    assert ioi_page.players(found, holds_s) == []
    assert ioi_page.players(found, holds_one) == ["m1"]
    lines = [line for line in ioi_page.page(found).splitlines() if line.startswith("| holds ")]
    assert lines[0].endswith("**none** |")
    assert next(i for i, line in enumerate(lines) if "`m1`" in line) > max(
        i for i, line in enumerate(lines) if "**none**" in line
    )


@pytest.mark.parametrize(
    ("right", "words"), [(95, "95.0% are right; 95% were wanted, which is met"), (94, "**missed**")]
)
def test_the_facts_must_be_answered_as_often_as_was_asked(facts, right, words):
    found = copy.deepcopy(facts[1])
    one = {"facts": 9, "held_out": 100, "held_out_right": right, "train": 10, "train_right": 10}
    found["accuracy"] = {"capital": one}
    text = " ".join(facts_page.page(found).split())
    assert words in text
    assert f"| all | 9 | 100 | {right} ({right}.0%) | 10 | 10 (100.0%) |" in text


def test_bear_is_told_of_where_it_was_measured(facts, tmp_path):
    found = facts[1]
    assert "reads BEAR as it comes" not in facts_page.page(found)
    byte_tokenizer().save_pretrained(tmp_path)
    counts = facts_study.bear(large_bear(tmp_path / "bear"), tmp_path)
    text = " ".join(facts_page.page({**found, "bear": counts}).split())
    assert f"{counts['facts']:,} facts in {counts['phrasings']} phrasings" in text
    assert 0 < counts["relations"] < counts["files"]
    assert counts["texts"] > counts["facts"]


def measured(**shares) -> Measured:
    """Sites that know so much of F, and that take away as much when they are patched."""
    cells = [{"site": s, "at": "=", "bits": {"F": {"bits": 4 * x, "of": 4.0, "se": 0}}} for s, x in shares.items()]
    effects = [{"sites": [s], "order": "each", "drop": 20 * x, "se": 0.1} for s, x in shares.items()]
    patching = {"at": "=", "clean": 10.0, "contrast_run": -10.0, "effects": effects}
    return Measured({"map": {"cells": cells, "epsilon": 0.1}}, {"s": patching})


def test_what_is_said_of_several_sites_holds_where_it_does_of_each():
    both = measured(a0=0.95, a1=0.89)
    assert BitsOfEach(("a0",), "=", "F", "knows").check(both).holds
    check = BitsOfEach(("a0", "a1"), "=", "F", "knows").check(both)
    assert not check.holds
    assert check.words == "share of F at `=`: `a0` 95%, `a1` 89%"
    assert BitsOfEach(("a0", "a1"), "=", "F", "reads").check(both).holds
    assert not BitsOfEach(("a0", "a9"), "=", "F", "reads").check(both).holds, "nothing was measured of a9"
    few = measured(a0=0.5, a1=0.05)
    assert MovesOfEach("s", ("a0",)).check(few).holds
    check = MovesOfEach("s", ("a0", "a1")).check(few)
    assert not check.holds
    assert check.words == "s, of the whole: `a0` 50%, `a1` 5%"
    assert not MovesOfEach("s", ("a9",)).check(few).holds


def document(share: float, raised: float, lowered: float = 0.0):
    """One head at END that knows so much of F, whose own word it raises most that often."""
    ranks = {"above": 0.1, "above_se": 0.01, "rank": 1.0, "raised": raised, "lowered": lowered}
    effects = [{"sites": ["a0.0@END"], "order": "each", "drop": 5.0, "se": 0.2}]
    return {
        "map": {"cells": [
            {"site": "a0.0", "at": "END", "size": 3.0, "size_se": 0.1,
             "bits": {"F": {"bits": 2 * share, "of": 2.0, "se": 0.0}}},
        ]},
        "attribution": {"n": 5, "cells": [{"site": "a0.0", "at": "END", "shown": {"F": ranks}}]},
        "patching": {"s": {"at": None, "clean": 10.0, "contrast_run": -10.0, "effects": effects}},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("share", "raised", "lowered", "degrees"),
    [
        (0.9, 0.9, 0.0, (2, 2)), (0.89, 0.0, 0.5, (1, 1)), (0.5, 0.49, 0.2, (1, 0)), (0.1, 0.2, 0.95, (0, 2)),
        (1.0, 0.6, 0.0, (2, 1)),
    ],
)  # fmt: skip
def test_preimage_and_attribution_show_a_feature_by_the_same_thresholds(share, raised, lowered, degrees):
    found = document(share, raised, lowered)
    assert site_page.shows(found, "a0.0", "F") == degrees
    line = site_page.side_by_side(found, ["a0.0"], ["F"]).splitlines()[2]
    assert line.endswith("| F |" if degrees[0] > degrees[1] else "| – |")
    assert f"| {2 * share:.2f} | 5.00 ± 0.20 (25%) | +0.10, rank 2.0, first {raised:.0%}, last {lowered:.0%} |" in line
    more, less = int(degrees[0] > degrees[1]), int(degrees[0] < degrees[1])
    short = site_page.in_short(found, ["a0.0"], ["F"])
    knows = {2: "knows F", 1: "reads F", 0: "reads none of these"}
    assert f"`a0.0` {knows[degrees[0]]}. Patching it takes away 25% (s) of the whole." in short
    assert f"Attribution shows: F {site_page.DEGREES[degrees[1]]}." in short
    assert f"shows more in {more}, attribution in {less}" in site_page.compared(found, ["a0.0"], "a head")


def test_heads_that_move_nothing_are_counted_with_what_they_know():
    found = document(0.95, 0.0)
    found["patching"]["s"]["effects"][0]["drop"] = 1.9
    line = site_page.in_short(found, ["a0.0"], ["F"])
    assert line == "- All 1 move the answer by less than 10% each. What they know: F in 1."


def test_a_site_is_listed_with_the_patches_of_its_position():
    found = document(1.0, 0.0)
    assert "s: moves by" in site_page.every_site(found, ["END"], ["F"])
    found["patching"]["s"]["effects"][0]["sites"] = ["a0.0@S2"]
    assert "moves by" not in site_page.every_site(found, ["END"], ["F"])
