"""TransformerLens, where it is installed, reads and patches the same values at the same names.

Its bridge is built around a copy of the same model object, which needs no hub. Only its patch of resid_mid means
something else: it changes what the MLP's norm sees and not the residual stream, so there the attention's output is
set to what makes the stream the value.
"""

import warnings

import pytest
import torch

from inversionview.probed.model import Patch, ProbedModel
from inversionview.sites import Site
from tests.paths import BUNDLED, PAPER_MODELS, SHARED
from tests.probed.tiny import LAYER_NORM, MODELS, NOT_IN_TRANSFORMER_LENS, every_site, some_tokens, tiny

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    pytest.importorskip("transformer_lens")
    from tests.probed.transformer_lens import at, bridge_to, hook_of

pytestmark = pytest.mark.filterwarnings("ignore")  # TransformerLens' own
NO_RESULTS = ("opt", "gptj")  # of heads; their z are there, and what is made of these is held to attention's output
CASES = [(name, "raw") for name in MODELS] + [(name, "tl") for name in LAYER_NORM]
CASES = [case for case in CASES if case[0] not in NOT_IN_TRANSFORMER_LENS]
TOKENS = some_tokens()
ROWS, POSITIONS = torch.arange(3), torch.tensor([1, 4, 8])


def setting(site, value):
    def hook(tensor, hook):
        tensor = tensor.expand(len(ROWS), *tensor.shape[1:]).clone()
        at(site, tensor, value.shape[-1])[ROWS, POSITIONS] = value
        return tensor

    return hook_of(site), hook


@pytest.fixture(scope="module", params=CASES, ids=" ".join)
def both(request):
    name, convention = request.param
    model = tiny(name)
    probed = ProbedModel(model, convention=convention)
    left_out = ("head_added", *(["head"] if name in NO_RESULTS else []))
    sites = [site for site in every_site(probed) if site.kind not in left_out]
    return probed, bridge_to(model, convention), sites


def test_captured_values_are_the_same(both):
    probed, bridge, sites = both
    _, cache = bridge.run_with_cache(TOKENS)
    for site, value in probed.capture(TOKENS, sites).items():
        expected = at(site, cache[hook_of(site)], probed.width(site)).expand_as(value)
        torch.testing.assert_close(value, expected, atol=1e-5, rtol=1e-5, msg=lambda text, site=site: f"{site}: {text}")


def test_patches_have_the_same_effect(both):
    probed, bridge, sites = both
    values = probed.capture(TOKENS, sites, POSITIONS)
    for site in values:
        value = 1.5 * values[site].roll(1, 0)
        if site.kind == "resid_mid":
            before = values[Site("resid_pre", site.layer)]
            hooks = [setting(Site("attn_out", site.layer), value - before)]
        else:
            hooks = [setting(site, value)]
        expected = bridge.run_with_hooks(TOKENS, fwd_hooks=hooks).log_softmax(-1)  # 'tl' centres the logits
        logits = probed.logits(TOKENS, [Patch(site, POSITIONS, value)]).log_softmax(-1)
        torch.testing.assert_close(
            logits, expected, atol=1e-4, rtol=1e-4, msg=lambda text, site=site: f"{site}: {text}"
        )


def test_several_patches_have_the_same_effect(both):
    probed, bridge, there = both
    kind = "head" if Site("head", 0, 1) in there else "z"
    sites = [Site(kind, 0, 1), Site(kind, 0, 3), Site("mlp_out", 0), Site(kind, 1, 2)]
    values = {site: value.roll(1, 0) for site, value in probed.capture(TOKENS, sites, POSITIONS).items()}
    hooks = [setting(site, value) for site, value in values.items()]
    expected = bridge.run_with_hooks(TOKENS, fwd_hooks=hooks).log_softmax(-1)
    patches = [Patch(site, POSITIONS, value) for site, value in values.items()]
    torch.testing.assert_close(probed.logits(TOKENS, patches).log_softmax(-1), expected, atol=1e-4, rtol=1e-4)


def trained_models():
    """The paper's addition and counting models, which are not ours to ship, and ours of the same sizes, which are."""
    for name, paper in zip(("addition", "counting"), PAPER_MODELS, strict=True):
        yield pytest.param(BUNDLED / name / "probed", id=f"bundled {name}")
        yield pytest.param(SHARED / paper, id=f"paper {name}", marks=pytest.mark.published(paper))


@pytest.mark.parametrize("path", [*trained_models()])
@pytest.mark.parametrize("convention", ["raw", "tl"])
def test_trained_models(path, convention):
    probed = ProbedModel.from_pretrained(path, convention=convention, device="cpu")
    tokens = torch.randint(0, probed.vocab_size, (4, 14), generator=torch.Generator().manual_seed(0))
    _, cache = bridge_to(probed.model, convention).run_with_cache(tokens)
    for site, value in probed.capture(tokens, probed.sites).items():
        expected = at(site, cache[hook_of(site)], probed.width(site)).expand_as(value)
        torch.testing.assert_close(value, expected, atol=1e-4, rtol=1e-4, msg=lambda text, site=site: f"{site}: {text}")
