import subprocess
import sys

import pytest

from inversionview.errors import UserError
from inversionview.sites import Site

NAMES = [
    (Site("resid_pre", 0), "x0.pre", "blocks.0.hook_resid_pre"),
    (Site("resid_mid", 3), "x3.mid", "blocks.3.hook_resid_mid"),
    (Site("resid_post", 12), "x12.post", "blocks.12.hook_resid_post"),
    (Site("mlp_out", 0), "m0", "blocks.0.hook_mlp_out"),
    (Site("attn_out", 1), "attn1", "blocks.1.hook_attn_out"),
    (Site("head", 0, 1), "a0.1", "blocks.0.attn.hook_result.1"),
    (Site("head", 10, 11), "a10.11", "blocks.10.attn.hook_result.11"),
    (Site("embed"), "embed", "hook_embed"),
    (Site("pos_embed"), "pos_embed", "hook_pos_embed"),
    (Site("q", 0, 1), "q0.1", "blocks.0.attn.hook_q.1"),
    (Site("k", 3, 0), "k3.0", "blocks.3.attn.hook_k.0"),
    (Site("v", 12, 11), "v12.11", "blocks.12.attn.hook_v.11"),
    (Site("z", 0, 1), "z0.1", "blocks.0.attn.hook_z.1"),
    (Site("neurons", 2), "n2", "blocks.2.mlp.hook_post"),
]


@pytest.mark.parametrize(("site", "short", "hook_name"), NAMES)
def test_every_spelling_is_the_same_site(site, short, hook_name):
    assert str(site) == short
    assert site.hook_name == hook_name
    assert Site.parse(short) == Site.parse(hook_name) == Site.parse(site) == site
    assert len({Site.parse(short), Site.parse(hook_name), site}) == 1


WRONG = """x x0 x.pre x0. x0.past x-1.pre x00.pre X0.pre x0.pre.1 x².pre m m-1 m0.1 m1_0 embed0
a0 a0. a.0 a0.1.2 attn attn0.1 hook_ hook_resid_pre hook_embed.0 hook_hook_embed blocks.0.hook_embed
blocks.0.hook_resid_past blocks..hook_resid_pre blocks.0.attn.hook_result blocks.0.attn.hook_result.x
q0 n0.1 z0.01 v.1 blocks.0.attn.hook_q blocks.0.hook_post sae3"""


@pytest.mark.parametrize("name", [*WRONG.split(), "", "x0.pre ", " x0.pre", "x0.pre\n"])
def test_what_is_no_site_is_one_line_that_says_how_sites_are_written(name):
    with pytest.raises(UserError, match=r"x0\.pre.*a0\.1") as caught:
        Site.parse(name)
    assert repr(name) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("other", [None, 3, ("head", 0, 1)])
def test_what_is_not_even_a_name(other):
    with pytest.raises(UserError, match=type(other).__name__):
        Site.parse(other)


WRONG_FIELDS = [("z", 0), ("q", 1, None, "sae3"), ("view",), ("view", 0, None, "sae3"), ("view", None, None, "a.b")]


@pytest.mark.parametrize(
    "fields",
    [("head", 0), ("head", None, 0), ("mlp_out",), ("mlp_out", 0, 1), ("embed", 0), ("resid_pre", -1), *WRONG_FIELDS],
)
def test_layer_and_head_fit_the_kind(fields):
    with pytest.raises(UserError):
        Site(*fields)


def test_a_view_has_a_name_that_only_its_model_knows():
    site = Site("view", name="sae3")
    assert str(site) == site.hook_name == "sae3"
    assert Site.named("sae3") == site
    assert Site.named("a0.1") == Site("head", 0, 1)


def test_sites_can_be_sorted():
    sites = [*(site for site, _, _ in NAMES), Site("view", name="b"), Site("view", name="a")]
    backwards = sites[::-1]
    assert sorted(sites) == sorted(backwards)


def test_sites_need_no_torch():
    command = "import sys, inversionview.sites; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", command], check=False).returncode == 0
