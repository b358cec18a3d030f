from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.special import rel_entr, softmax

from inversionview.probed.model import Patch
from inversionview.tasks import outputs as module
from inversionview.tasks.outputs import PatchedRun, divergence, predicting
from tests.preimage.tiny import probed, rows, task

TOKENS = task().encode("615+861=1476")


def run(site: str = "x0.post", position: int = 5, model=None):
    return PatchedRun(model or probed(0, "raw"), TOKENS, site, position, predicting(task(), TOKENS[None], position))


def values(n: int = 9, seed: int = 0) -> torch.Tensor:
    return 3 * torch.randn(n, 16, generator=torch.Generator().manual_seed(seed))


def test_divergence_is_that_of_scipy():
    generator = np.random.default_rng(0)
    clean, patched = generator.normal(size=(2, 4, 3, 7)) * 5
    expected = rel_entr(softmax(clean, axis=-1), softmax(patched, axis=-1)).sum(axis=-1)
    found = divergence(torch.from_numpy(clean), torch.from_numpy(patched))
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-10)
    np.testing.assert_allclose(
        divergence(torch.from_numpy(clean[0, 0]), torch.from_numpy(patched[0, 0])), expected[0, 0]
    )


def test_divergence_of_impossible_tokens_and_of_what_is_no_number():
    sure = torch.tensor([0.0, -math.inf])
    even = torch.zeros(2)
    assert float(divergence(sure, even)) == pytest.approx(math.log(2))
    assert float(divergence(even, sure)) == math.inf
    assert float(divergence(sure, sure)) == 0
    for broken in (torch.tensor([math.nan, 0.0]), torch.tensor([math.inf, 0.0])):
        assert math.isnan(float(divergence(broken, even)))
        assert math.isnan(float(divergence(even, broken)))


@pytest.mark.parametrize(("site", "position"), [("x0.post", 5), ("embed", 0), ("a1.0", 8), ("x0.pre", 12)])
def test_effects_are_those_of_whole_forwards(site, position):
    at, replaced = predicting(task(), TOKENS[None], position), values()
    patch = Patch(site, position, replaced)
    clean = probed(0, "raw").logits(TOKENS[None])[0, at].double()
    patched = probed(0, "raw").logits(TOKENS.expand(9, -1), [patch])[:, at].double()
    p, q = clean.log_softmax(-1), patched.log_softmax(-1)
    found = run(site, position).effects(replaced)
    torch.testing.assert_close(found.kl, (p.exp() * (p - q)).sum(-1), rtol=1e-4, atol=1e-6)
    assert found.kl.max() > 0.01
    torch.testing.assert_close(found.same_top, patched.argmax(-1) == clean.argmax(-1))


def test_blocks_and_batches_do_not_matter(monkeypatch):
    together = run().effects(values(9))
    monkeypatch.setattr(module, "_BLOCK_INPUTS", 2)
    parts = run().effects(values(9))
    torch.testing.assert_close(parts.kl, together.kl, rtol=1e-4, atol=1e-7)
    torch.testing.assert_close(parts.same_top, together.same_top)


@pytest.mark.parametrize("site", ["x0.post", "a0.1", "m1", "embed"])
@pytest.mark.parametrize("convention", ["raw", "tl"])
def test_the_runs_own_activation_changes_nothing(site, convention):
    model = probed(0, convention)
    (own,) = model.capture(TOKENS[None], [site], 5).values()
    found = run(site, 5, model).effects(own)
    assert found.kl.abs().max() < 1e-9
    assert found.same_top.all()


def test_memory_bounds_the_inputs_of_a_forward():
    assert module.inputs_at_once(probed(), 5, 3) == module._BLOCK_INPUTS
    assert 1 <= module.inputs_at_once(probed(), 5, 2**16) < 64
    assert module.inputs_at_once(probed(), 5, 2**30) == 1


def test_what_predicts_the_answer():
    short = rows("B100+100=200E")
    assert predicting(task(), short, 3).tolist() == [8, 9, 10, 11]
    assert predicting(task(), short, 10).tolist() == [10, 11]
