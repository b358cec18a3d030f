"""A study of a task that is too large to enumerate, with a small random model of it and no decoder."""

from __future__ import annotations

from collections import Counter
from itertools import permutations

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from inversionview.errors import UserError
from inversionview.probed.model import ProbedModel
from inversionview.studies.description import StudyDescription, write_description
from inversionview.studies.study import Study, load_study

TEXT = "abacab|b:2"


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Study:
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=40,
        n_positions=33,
        n_embd=16,
        n_layer=2,
        n_head=2,
        initializer_range=0.3,
        bos_token_id=37,
        eos_token_id=38,
    )
    probed = ProbedModel(GPT2LMHeadModel(config), convention="tl")
    folder = tmp_path_factory.mktemp("studies") / "tiny"
    probed.model.save_pretrained(folder / "probed")
    sites = ("x0.pre", "a0.1", "x1.post")
    described = StudyDescription(
        name="tiny", task="counting", convention="tl", sites=sites, metric="euclidean", epsilon=0.1, probed="probed",
        fingerprint=probed.fingerprint, decoder=None,
    )  # fmt: skip
    write_description(folder, described)
    return load_study(folder)


def test_given_letters_and_counts_the_preimage_is_exact(study):
    query = study.query(TEXT, ":", "a0.1")
    found = study.exact_preimage(query, epsilon=0.3, given="counts", curve=True)
    assert found.exact
    assert found.domain_size == 60  # 6! / (3! 2! 1!)
    assert "every order" in found.given
    assert all(Counter(text.partition("|")[0]) == Counter("abacab") for text in found.inputs)
    tokens = torch.stack([study.task.encode(text) for text in sorted(orders("abacab"))])
    (z,) = study.probed.capture(tokens, ["a0.1"], 9).values()
    (own,) = study.probed.capture(torch.tensor([query.tokens]), ["a0.1"], 9).values()
    distances = (z - own).norm(dim=1) / own.norm()
    assert 1 < found.n_inside == int((distances <= 0.3).sum()) < 60


def orders(letters: str) -> set[str]:
    return {"".join(order) + "|b:2" for order in permutations(letters)}


def test_of_several_queries_each_has_its_own_part_of_the_domain(study):
    queries = [study.query(text, "|", "x1.post") for text in (TEXT, "aabc|c:1")]
    found = study.exact_preimages(queries, given="counts")
    assert [preimage.domain_size for preimage in found] == [60, 12]


def test_the_count_stands_beside_each_input_unless_something_else_is_asked_for(study):
    found = study.exact_preimage(study.query(TEXT, "letter", "x0.pre"), given="counts")
    assert [column.name for column in found.columns] == ["count"]
    assert {sample["features"]["count"] for sample in found.to_dict()["samples"]} == {"2"}
    assert [column.name for column in study.with_columns(found, ["last", "length"]).columns] == ["last", "length"]
    with pytest.raises(UserError, match="counting has no feature 'size'"):
        study.with_columns(found, ["size"])


def test_patching_needs_no_decoder(study):
    document = study.patch(
        target="answer", sites="embed@letter,pos_embed@letter,x0.pre@letter", contrast="flip", order="both", n=40
    ).to_dict()
    assert (document["study"], document["contrast"], len(document["effects"])) == ("tiny", "flip", 6)
    forward, reverse = document["effects"][2], document["effects"][5]
    assert forward["patched"] == pytest.approx(reverse["patched"])


@pytest.mark.parametrize(
    ("ask", "words"),
    [
        ({}, "some 10|cannot be enumerated"),
        ({"given": "length"}, "counting can be enumerated given counts, not given 'length'"),
        ({"given": "counts", "index": "folder"}, "an index holds the whole domain"),
    ],
)
def test_what_cannot_be_exact_says_so(study, ask, words):
    with pytest.raises(UserError, match=words) as raised:
        study.exact_preimage(study.query(TEXT, ":", "a0.1"), **ask)
    assert "\n" not in str(raised.value)
