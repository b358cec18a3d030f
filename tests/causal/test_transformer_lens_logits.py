"""TransformerLens, where it is installed, attributes the same logits to the same parts."""

import warnings

import pytest
import torch

from inversionview.causal.logit_attribution import logit_attribution
from inversionview.probed.model import ProbedModel
from tests.probed.tiny import some_tokens, tiny

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    pytest.importorskip("transformer_lens")
    from tests.probed.transformer_lens import bridge_to, hook_of

pytestmark = pytest.mark.filterwarnings("ignore")  # TransformerLens' own
TOKENS, ROWS, AT = some_tokens(), torch.arange(3), torch.tensor([1, 4, 8])


def test_each_part_through_the_folded_final_norm_and_unembedding():
    """There the unembedding is centred over the vocabulary, and holds the final norm's factors."""
    model = tiny("gpt2")
    probed, bridge = ProbedModel(model, convention="tl"), bridge_to(model, "tl")
    _, cache = bridge.run_with_cache(TOKENS)
    scale = cache["ln_final.hook_scale"][ROWS, AT]
    assert (scale - 1).abs().min() > 0.05
    for site in probed.sites:
        value = cache[hook_of(site)]
        value = (value[:, :, site.head] if site.kind == "head" else value.expand(3, *value.shape[1:]))[ROWS, AT]
        expected = value / scale @ bridge.W_U
        found = logit_attribution(probed, TOKENS, site, AT).values
        found = found - found.mean(dim=-1, keepdim=True)
        torch.testing.assert_close(found, expected - expected.mean(-1, keepdim=True), atol=1e-4, rtol=1e-4)
        published = logit_attribution(probed, TOKENS, site, AT, final_norm=False).values
        torch.testing.assert_close(published, value @ bridge.W_U, atol=1e-4, rtol=1e-4)
