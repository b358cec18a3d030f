"""A query that is a vector of the user's own, with no input behind it."""

import json

import numpy as np
import pytest
import torch

import inversionview as iv
from inversionview.errors import UserError
from tests.preimage.tiny import FewSums

INPUT = "615+861=1476"


@pytest.fixture(scope="module")
def study():
    return iv.load_study("addition")


@pytest.fixture(scope="module")
def own(study):
    return study.query(INPUT, at="=", site="a0.0")


@pytest.fixture(scope="module")
def vector(study, own):
    """The vector that an input has there, so that what is found near it is known."""
    z = study.probed.capture(torch.tensor([own.tokens]), own.site, own.position)[study.probed.site(own.site)][0]
    return study.query(vector=z, at="=", site="a0.0")


def test_the_vector_of_an_input_has_that_inputs_preimage(study, own, vector):
    few = iv.Study(study.probed, FewSums(sorted({615, 861, *range(100, 1000, 20)})), epsilon=0.1, name="addition")
    exact, expected = few.exact_preimages([vector, own])
    assert len(expected) > 1
    assert np.array_equal(exact.tokens, expected.tokens)
    assert np.allclose(exact.distances, expected.distances, atol=1e-6)
    assert [bits.bits for bits in exact.bits] == [bits.bits for bits in expected.bits]
    sampled = study.preimage(vector, n=300, epsilon="null:0.02")
    assert sampled.n_inside
    among = study.preimages([own, vector], n=300, epsilon="null:0.02")[1]
    assert among.inputs == sampled.inputs
    anywhere = study.preimage(study.query(vector=vector.vector, site="a0.0"), n=100, position_rule="any")
    assert anywhere.query.role == ""
    assert anywhere.n_distinct


def test_its_document_says_that_no_input_is_behind_it_and_it_is_drawn_and_kept(study, vector, tmp_path, capsys):
    preimage = study.preimage(vector, n=100)
    document = json.loads(json.dumps(preimage.to_dict()))
    place = {"input": None, "tokens": [], "position": None, "at": "=", "site": "a0.0"}
    assert document["query"] == {**place, "vector": list(vector.vector)}
    assert "a vector at =, a0.0" in repr(preimage)
    assert "<table" in preimage.to_html()
    for suffix in (".json", ".parquet"):
        preimage.save(tmp_path / f"kept{suffix}")
        assert iv.Preimage.load(tmp_path / f"kept{suffix}").query == vector
    from rich.console import Console

    from inversionview.report.terminal import render_terminal

    for width in (60, 120, 200):
        render_terminal(preimage.to_reading(), Console(width=width))
    assert "a vector" in capsys.readouterr().out
    assert all(column.query == "" for column in study.with_columns(preimage, ["F1"]).columns)


def test_what_takes_an_input_says_so(study, own, vector):
    for ask in (
        lambda: study.causal(vector),
        lambda: study.logit_attribution(vector),
        lambda: study.preimage(vector, n=10, epsilon="causal:0.1"),
        lambda: study.preimage(vector, n=10, also=["edits"]),
        lambda: study.test(vector, lambda text: text[0] == "6"),
    ):
        with pytest.raises(
            UserError, match=r"takes a query with an input, and this one is a vector of your own at a0\.0"
        ):
            ask()
    with pytest.raises(UserError, match=r"has no role.*position_rule 'any'"):
        study.preimage(study.query(vector=vector.vector, site="a0.0"), n=10)


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ({"vector": [1.0, 2.0], "site": "a0.0"}, r"shape \(2,\): activations at a0\.0 have \(32,\)"),
        ({"vector": torch.zeros(32), "site": "a0.0"}, "not all 0"),
        ({"vector": torch.full((32,), torch.nan), "site": "a0.0"}, "finite"),
        ({"vector": torch.ones(32)}, "give a site"),
        ({"vector": torch.ones(32), "text": INPUT, "site": "a0.0"}, "in its place"),
        ({"site": "a0.0"}, "give an input"),
    ],
)
def test_what_is_no_vector_is_one_line(study, query, message):
    with pytest.raises(UserError, match=message):
        study.query(**query)
