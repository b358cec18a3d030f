"""Sites by kind and by range of layers."""

import pytest
import torch

from inversionview.causal.effects import parse_patch_sites
from inversionview.errors import UserError
from inversionview.probed.model import ProbedModel
from inversionview.sites import Site
from inversionview.studies.study import Study
from inversionview.tasks import get_task
from tests.probed.tiny import MODELS, tiny


@pytest.fixture(scope="module")
def llama() -> ProbedModel:
    return ProbedModel(tiny("llama"))


def names(probed, *given) -> str:
    return " ".join(map(str, probed.select_sites(given)))


@pytest.mark.parametrize(
    ("given", "there"),
    [
        ("heads", "a0.0 a0.1 a0.2 a0.3 a1.0 a1.1 a1.2 a1.3"),
        ("residual", "x0.pre x0.post x1.post"),
        ("mlps", "m0 m1"),
        ("attention", "attn0 attn1"),
        ("a1", "a1.0 a1.1 a1.2 a1.3"),
        ("a0-1.2", "a0.2 a1.2"),
        ("a0-0", "a0.0 a0.1 a0.2 a0.3"),
        ("m0-1", "m0 m1"),
        ("attn1-1", "attn1"),
        ("x0-1", "x0.post x1.post"),
        ("x1", "x1.post"),
        ("x0-1.mid", "x0.mid x1.mid"),
        ("x0-1.pre", "x0.pre x1.pre"),
    ],
)
def test_what_a_kind_and_a_range_stand_for(llama, given, there):
    assert names(llama, given) == there


def test_all_is_what_a_model_lists(llama):
    assert llama.select_sites("all") == llama.sites


@pytest.mark.parametrize("name", MODELS)
def test_kinds_are_disjoint_and_of_every_architecture(name):
    probed = ProbedModel(tiny(name))
    kinds = [set(probed.select_sites(kind)) for kind in ("heads", "residual", "mlps", "attention")]
    assert all(kinds)
    assert len(set().union(*kinds)) == sum(map(len, kinds))
    assert set().union(*kinds) <= set(probed.sites)


def test_no_two_states_of_the_residual_stream_are_the_same(llama):
    tokens = torch.arange(1, 9)[None]
    states = list(llama.capture(tokens, llama.select_sites("residual")).values())
    assert not any(torch.equal(a, b) for i, a in enumerate(states) for b in states[:i])


def test_names_mix_and_each_site_comes_once_where_it_is_first_named(llama):
    assert names(llama, "x0.pre", "a1", "blocks.1.attn.hook_result.1", "z0.1", "m0-1", "mlps") == (
        "x0.pre a1.0 a1.1 a1.2 a1.3 z0.1 m0 m1"
    )
    assert names(llama, Site("mlp_out", 1), "a0.1") == "m1 a0.1"


def test_a_view_keeps_its_own_name(llama):
    probed = ProbedModel(tiny("llama"))
    probed.add_view("heads", of="x0.post", encode=torch.eye(12))
    assert names(probed, "heads", "a1.0") == "heads a1.0"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("hats", "unknown site 'hats'.*heads, residual, mlps, attention, all"),
        ("a1-5", "no sites a1-5.*layers 0 to 1"),
        ("a1-0", "no sites a1-0"),
        ("m0-1.pre", "unknown site 'm0-1.pre'"),
        ("x0-1.3", "unknown site 'x0-1.3'"),
        ("a0-1.9", "no sites a0-1.9"),
        ("a9.9", "this model has no site a9.9"),
        ("z0-1", "unknown site 'z0-1'"),
        ("", "unknown site ''"),
        ("a0-", "unknown site 'a0-'"),
    ],
)
def test_what_stands_for_nothing_is_one_line(llama, given, said):
    with pytest.raises(UserError, match=said) as caught:
        llama.select_sites([given])
    assert "\n" not in str(caught.value)


def test_parallel_blocks_have_no_state_after_attention():
    with pytest.raises(UserError, match=r"no sites x0-1\.mid"):
        ProbedModel(tiny("gpt_neox")).select_sites("x0-1.mid")


def test_a_study_chooses_among_its_own(llama):
    study = Study(llama, get_task("addition"), sites=["a0", "m0-1"])
    assert study.sites == ("a0.0", "a0.1", "a0.2", "a0.3", "m0", "m1")
    assert study.select_sites(["heads", "mlps"]) == study.sites
    with pytest.raises(UserError, match="no sites residual"):
        study.select_sites("residual")
    with pytest.raises(UserError, match=r"has no site x0\.pre"):
        study.select_sites("x0.pre")


def test_a_kind_is_patched_at_one_position(llama):
    places = parse_patch_sites("a0@=,m1", "A1", llama.select_sites)
    assert [(str(p.site), p.at) for p in places] == [*((f"a0.{i}", "=") for i in range(4)), ("m1", "A1")]
    assert [str(p) for p in places][-2:] == ["a0.3@=", "m1"]
