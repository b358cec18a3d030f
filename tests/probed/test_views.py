"""Views of a site: what they hold, what a patch through them changes, and that two of them are never taken for one."""

import pytest
import torch
from torch import nn

from inversionview.errors import UserError
from inversionview.probed.model import Patch, ProbedModel
from inversionview.sites import Site
from tests.probed.tiny import LAYER_NORM, MODELS, every_site, some_tokens, tiny

TOKENS, OTHER = some_tokens(), some_tokens(seed=1)
POSITIONS = torch.tensor([1, 8, 4])
CASES = [(name, "raw") for name in MODELS] + [(name, "tl") for name in LAYER_NORM]


@pytest.fixture(params=CASES, ids=" ".join)
def probed(request):
    return ProbedModel(tiny(request.param[0]), convention=request.param[1])


def close(values, expected, atol=1e-4):
    torch.testing.assert_close(values, expected, atol=atol, rtol=1e-4)


def subspace(d, k, seed=0):
    return torch.linalg.qr(torch.randn(d, k, generator=torch.Generator().manual_seed(seed))).Q


def one_of_each_kind(probed):
    return {site.kind: site for site in every_site(probed) if site.layer in (None, 1)}.values()


def test_a_view_through_a_matrix_is_the_product_and_its_patch_replaces_the_projection_alone(probed):
    for site in one_of_each_kind(probed):
        basis = subspace(probed.width(site), 3)
        view = probed.add_view(f"view_of_{site.kind}", of=site, encode=basis, decode=basis.T)
        assert probed.site(str(view)) == view
        assert probed.width(view) == 3
        values = probed.capture(TOKENS, [view, site], POSITIONS)
        close(values[view], values[site] @ basis)
        close(probed.capture(TOKENS, view)[view][torch.arange(3), POSITIONS], values[view])
        prefixes = probed.capture_prefixes(TOKENS, [site, view], [4]).at
        close(prefixes[view][4], prefixes[site][4] @ basis)
        new = probed.capture(OTHER, view, POSITIONS)[view] + 1
        whole = values[site] + (new - values[view]) @ basis.T
        patched = probed.logits(TOKENS, [Patch(view, POSITIONS, new)])
        close(patched, probed.logits(TOKENS, [Patch(site, POSITIONS, whole)]))
        assert (patched - probed.logits(TOKENS)).abs().max() > 1e-3, site


def test_patching_a_run_into_itself_through_a_view_changes_nothing(probed):
    for site in one_of_each_kind(probed):
        encode = nn.Sequential(nn.Linear(probed.width(site), 7), nn.ReLU())
        probed.add_view(f"sae_{site.kind}", of=site, encode=encode, decode=nn.Linear(7, probed.width(site)))
        own = probed.capture(TOKENS, f"sae_{site.kind}", 4)[Site("view", name=f"sae_{site.kind}")]
        close(probed.logits(TOKENS, [Patch(f"sae_{site.kind}", 4, own)]), probed.logits(TOKENS))


def test_what_an_autoencoder_does_not_hold_stays():
    probed = ProbedModel(tiny("llama"))
    encode, decode = nn.Linear(12, 5), nn.Linear(5, 12)
    view = probed.add_view("sae0", of="x0.post", encode=encode, decode=decode)
    x = probed.capture(TOKENS, "x0.post", 3)[Site("resid_post", 0)]
    new = torch.linspace(-1, 1, 5)
    with torch.no_grad():
        expected = x + decode(new) - decode(encode(x))
    close(probed.logits(TOKENS, [Patch(view, 3, new)]), probed.logits(TOKENS, [Patch("x0.post", 3, expected)]))


def test_a_view_of_a_view():
    probed = ProbedModel(tiny("gpt2"))
    outer, inner = subspace(16, 4), subspace(4, 2)
    probed.add_view("outer", of="a1.2", encode=outer, decode=outer.T)
    probed.add_view("inner", of="outer", encode=inner, decode=inner.T)
    both = probed.add_view("both", of="a1.2", encode=outer @ inner, decode=(outer @ inner).T)
    values = probed.capture(TOKENS, ["inner", "both"], 4)
    close(values[probed.site("inner")], values[both])
    new = torch.tensor([0.5, -1.0])
    close(probed.logits(TOKENS, [Patch("inner", 4, new)]), probed.logits(TOKENS, [Patch(both, 4, new)]))


def test_a_function_that_gives_back_what_it_got_shares_nothing_with_its_site():
    probed = ProbedModel(tiny("gpt2"))
    view = probed.add_view("same", of="x0.post", encode=lambda x: x, decode=lambda x: x)
    values = probed.capture(TOKENS, ["x0.post", view])
    values[view].zero_()
    assert values[Site("resid_post", 0)].abs().max() > 0
    new = torch.linspace(-1, 1, 16)
    close(probed.logits(TOKENS, [Patch(view, 3, new)]), probed.logits(TOKENS, [Patch("x0.post", 3, new)]))


def test_of_two_patches_the_last_wins_and_those_of_other_subspaces_stay():
    probed = ProbedModel(tiny("gpt2"))
    basis = subspace(16, 4)
    for name, part in (("one", basis[:, :2]), ("two", basis[:, 2:]), ("all", basis)):
        probed.add_view(name, of="x0.post", encode=part, decode=part.T)
    a, b = torch.tensor([1.0, 2.0]), torch.tensor([-1.0, 0.5])
    both = probed.logits(TOKENS, [Patch("one", 4, a), Patch("two", 4, b)])
    close(both, probed.logits(TOKENS, [Patch("all", 4, torch.cat([a, b]))]))
    close(both, probed.logits(TOKENS, [Patch("all", 4, torch.zeros(4)), Patch("one", 4, a), Patch("two", 4, b)]))


def test_in_other_number_types_a_view_has_those_of_the_model():
    probed = ProbedModel(tiny("llama").bfloat16())
    view = probed.add_view("half", of="x0.post", encode=subspace(12, 2), decode=subspace(12, 2).T)
    value = probed.capture(TOKENS, view, 3)[view]
    assert value.dtype == torch.bfloat16
    assert torch.equal(probed.logits(TOKENS, [Patch(view, 3, value)]), probed.logits(TOKENS))


def test_a_view_without_a_way_back_is_read_and_not_patched():
    probed = ProbedModel(tiny("gpt2"))
    probed.add_view("direction", of="x0.post", encode=torch.ones(16, 1))
    assert probed.capture(TOKENS, "direction")[probed.site("direction")].shape == (*TOKENS.shape, 1)
    with pytest.raises(UserError, match=r"direction is a view with no way back.*decode"):
        probed.logits(TOKENS, [Patch("direction", 0, torch.zeros(1))])


@pytest.mark.parametrize(
    ("name", "of", "encode", "decode", "message"),
    [
        ("x0.post", "x0.post", torch.eye(16), None, "name of letters"),
        ("embed", "x0.post", torch.eye(16), None, "embed is another site"),
        ("m0", "x0.post", torch.eye(16), None, "m0 is another site"),
        ("mine", "x9.post", torch.eye(16), None, "no site x9.post"),
        ("mine", "x0.post", torch.eye(15), None, "encode does not take activations of width 16"),
        ("mine", "x0.post", torch.ones(16), None, "two axes"),
        ("mine", "x0.post", torch.ones(16, 2).long(), None, "real numbers"),
        ("mine", "x0.post", "a matrix", None, "not callable"),
        ("mine", "x0.post", lambda x: x.sum(), None, r"make \[batch, width\] of \[batch, 16\], not \(\)"),
        ("mine", "x0.post", lambda x: None, None, "not NoneType"),
        ("mine", "x0.post", torch.ones(16, 2), torch.ones(2, 15), r"decode must make \[batch, 16\]"),
        ("mine", "x0.post", torch.ones(16, 2), torch.ones(3, 16), "decode does not take activations of width 2"),
    ],
)
def test_what_is_no_view_is_one_line(name, of, encode, decode, message):
    with pytest.raises(UserError, match=message) as caught:
        ProbedModel(tiny("gpt2")).add_view(name, of=of, encode=encode, decode=decode)
    assert "\n" not in str(caught.value)


def test_a_view_is_the_models_own_and_named_among_its_sites():
    probed, listed = ProbedModel(tiny("gpt2")), ProbedModel(tiny("gpt2")).sites
    probed.add_view("sae3", of="x0.post", encode=torch.eye(16))
    assert probed.sites == listed
    with pytest.raises(UserError, match=r"no site x9\.post.*sae3"):
        probed.capture(TOKENS, "x9.post")
    for name in ("sae3", Site("view", name="sae3")):
        with pytest.raises(UserError, match="sae3"):
            ProbedModel(tiny("gpt2")).capture(TOKENS, name)


def test_a_name_is_one_view_and_its_fingerprint_tells_it_from_others():
    model, encode = tiny("gpt2"), subspace(16, 3)
    probed, other = ProbedModel(model), ProbedModel(model)
    view = probed.add_view("mine", of="x0.post", encode=encode)
    assert probed.add_view("mine", of="x0.post", encode=encode.clone()) == view  # as in a cell that is run again
    for changed in ({"of": "x1.post"}, {"encode": 2 * encode}, {"decode": encode.T}, {"encode": lambda x: x[..., :3]}):
        with pytest.raises(UserError, match="another site"):
            probed.add_view("mine", **{"of": "x0.post", "encode": encode, **changed})
    other.add_view("mine", of="x0.post", encode=subspace(16, 3, seed=1))
    assert probed.fingerprint == other.fingerprint == probed.fingerprint_of(probed.sites)
    assert len({probed.fingerprint, probed.fingerprint_of(["mine"]), other.fingerprint_of(["mine", "x0.post"])}) == 3
