"""A loss in parts is the plain loss, with few logits at once."""

import pytest
import torch
import torch.nn.functional as F

from inversionview.decoder import loss as in_parts
from inversionview.decoder.loss import IGNORED
from inversionview.decoder.model import RaggedRows
from tests.decoder.test_constrained import config as constrained_config
from tests.decoder.tiny import activations, inputs, tiny_decoder

RAGGED = [RaggedRows(2, 4), RaggedRows(3, 7), RaggedRows(1, 13)]


@pytest.fixture
def made(monkeypatch):
    """The sizes of all logits of which a cross-entropy was taken."""
    sizes = []
    plain = F.cross_entropy

    def noted(logits, *args, **options):
        sizes.append(logits.numel())
        return plain(logits, *args, **options)

    monkeypatch.setattr(F, "cross_entropy", noted)
    return sizes


def targets(tokens):
    wanted = torch.cat([tokens[:2, 1:5].flatten(), tokens[2:5, 1:8].flatten(), tokens[5:, 1:14].flatten()])
    wanted[::5] = IGNORED
    return wanted


def loss_and_gradients(decoder, tokens):
    z, site = activations(6)
    z.requires_grad_()
    decoder.zero_grad()
    loss = decoder(tokens, z, site, RAGGED, targets(tokens)) / 6
    loss.backward()
    return loss.detach(), {name: p.grad.clone() for name, p in decoder.named_parameters()} | {"z": z.grad}


@pytest.mark.parametrize("at_once", [1, 15, 100, 300, 10**6])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_loss_and_gradients_are_the_plain_ones(monkeypatch, made, at_once, dtype):
    decoder, tokens = tiny_decoder(), inputs(6)
    decoder.compute_dtype = dtype
    z, site = activations(6)
    logits = decoder(tokens, z, site, RAGGED)
    F.cross_entropy(logits, targets(tokens), ignore_index=IGNORED, reduction="sum").div(6).backward()
    expected = {name: p.grad.clone() for name, p in decoder.named_parameters()}
    made.clear()
    monkeypatch.setattr(in_parts, "LOGITS_AT_ONCE", at_once)
    _, found = loss_and_gradients(decoder, tokens)
    tolerance = {} if dtype == torch.float32 else {"rtol": 0.1, "atol": 0.05}
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, **tolerance)
    if at_once < logits.numel():
        assert max(made) <= max(at_once, 15)
        assert sum(made) == 15 * int((targets(tokens) != IGNORED).sum())  # nothing was made for what does not count
    else:
        assert made == [logits.numel()]


def test_a_constraint_holds_in_parts(monkeypatch):
    decoder = tiny_decoder(**vars(constrained_config()) | {"sites": ("x0.pre", "a0.0", "a0.1")})
    tokens = torch.full((6, 14), 39)
    tokens[:, 0], tokens[:, 1:6] = 37, torch.randint(0, 3, (6, 5), generator=torch.Generator().manual_seed(0))
    z, site = activations(6)
    ragged = [RaggedRows(2, 3), RaggedRows(4, 5)]
    wanted = torch.cat([tokens[:2, 1:4].flatten(), tokens[2:, 1:6].flatten()])
    plain = decoder(tokens, z, site, ragged, wanted)
    monkeypatch.setattr(in_parts, "LOGITS_AT_ONCE", 120)
    assert plain.isfinite()
    torch.testing.assert_close(decoder(tokens, z, site, ragged, wanted), plain)


def test_weights_that_are_not_trained_get_no_gradient(monkeypatch):
    decoder, tokens = tiny_decoder(), inputs(6)
    z, site = activations(6)
    decoder.head.weight.requires_grad_(False)
    monkeypatch.setattr(in_parts, "LOGITS_AT_ONCE", 100)
    decoder(tokens, z, site, RAGGED, targets(tokens)).backward()
    assert decoder.head.weight.grad is None
    assert decoder.token_embedding.weight.grad.abs().sum() > 0


@torch.no_grad()
def test_a_loss_without_gradients(monkeypatch):
    decoder, tokens = tiny_decoder(), inputs(6)
    z, site = activations(6)
    plain = decoder(tokens, z, site, RAGGED, targets(tokens))
    monkeypatch.setattr(in_parts, "LOGITS_AT_ONCE", 100)
    torch.testing.assert_close(decoder(tokens, z, site, RAGGED, targets(tokens)), plain)
