"""A loss in parts is the plain loss, with few logits at once."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from inversionview.decoder import loss as in_parts
from inversionview.decoder.loss import IGNORED, Head, summed_loss
from inversionview.decoder.model import RaggedRows
from tests.decoder.constrained import TASK
from tests.decoder.constrained import config as constrained_config
from tests.decoder.tiny import activations, inputs, tiny_decoder

VOCABULARY = 15
RAGGED = [RaggedRows(2, 4), RaggedRows(3, 7), RaggedRows(1, 13)]


class Watch(TorchDispatchMode):
    """Notes every tensor [positions, vocabulary] that is written, and every product that makes logits."""

    def __init__(self):
        super().__init__()
        self.held, self.products, self.dtypes = [], [], set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        found = function(*args, **(kwargs or {}))
        if isinstance(found, torch.Tensor) and found.dim() == 2 and found.shape[1] == VOCABULARY:
            if not function.is_view:
                self.held.append(found.numel())
            if function.overloadpacket in (torch.ops.aten.mm, torch.ops.aten.addmm):
                self.products.append(found.numel())
                self.dtypes.add(found.dtype)
        return found


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
@pytest.mark.parametrize("in_cache", [1, 45, 10**6])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_loss_and_gradients_are_the_plain_ones(monkeypatch, at_once, in_cache, dtype):
    decoder, tokens = tiny_decoder(), inputs(6)
    decoder.compute_dtype = dtype
    z, site = activations(6)
    logits = decoder(tokens, z, site, RAGGED)
    plain = F.cross_entropy(logits, targets(tokens), ignore_index=IGNORED, reduction="sum").div(6)
    plain.backward()
    expected = {name: p.grad.clone() for name, p in decoder.named_parameters()}
    monkeypatch.setattr(in_parts, "LOGITS_AT_ONCE", at_once)
    monkeypatch.setattr(in_parts, "IN_CACHE", in_cache)
    with Watch() as watch:
        loss, found = loss_and_gradients(decoder, tokens)
    torch.testing.assert_close(loss, plain.detach(), rtol=1e-5 if dtype == torch.float32 else 1e-2, atol=0)
    tolerance = {} if dtype == torch.float32 else {"rtol": 0.1, "atol": 0.05}
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, **tolerance)
    if at_once < logits.numel():
        assert max(watch.held) <= max(at_once, VOCABULARY)
        # Nothing was made for what does not count.
        assert sum(watch.products) == VOCABULARY * int((targets(tokens) != IGNORED).sum())
    else:
        assert max(watch.held) == logits.numel()


def test_logits_are_made_in_the_type_that_is_computed_in(monkeypatch):
    decoder, tokens = tiny_decoder(), inputs(6)
    decoder.compute_dtype, hidden = torch.bfloat16, decoder.body.hidden
    monkeypatch.setattr(
        decoder.body, "hidden", lambda *args: hidden(*args).float()
    )  # as a language model's last norm does
    monkeypatch.setattr(in_parts, "LOGITS_AT_ONCE", 100)
    with Watch() as watch:
        loss_and_gradients(decoder, tokens)
    assert watch.dtypes == {torch.bfloat16}


@pytest.mark.parametrize("at_once", [30, 10**6])
def test_a_head_with_bias_and_cap(monkeypatch, at_once):
    generator = torch.Generator().manual_seed(0)
    hidden, weight, bias = (torch.randn(n, generator=generator).requires_grad_() for n in ((9, 4), (15, 4), (15,)))
    wanted = torch.randint(15, (9,), generator=generator)
    logits = 2 * torch.tanh((hidden @ weight.T + bias) / 2)
    expected = torch.autograd.grad(F.cross_entropy(logits, wanted, reduction="sum"), (hidden, weight, bias))
    monkeypatch.setattr(in_parts, "LOGITS_AT_ONCE", at_once)
    head = Head(weight, bias, lambda logits: 2 * torch.tanh(logits / 2))
    loss = summed_loss(head, hidden, wanted, None)
    torch.testing.assert_close(loss, F.cross_entropy(logits, wanted, reduction="sum"))
    torch.testing.assert_close(torch.autograd.grad(loss, (hidden, weight, bias)), expected)


def test_a_target_without_any_probability_to_speak_of(monkeypatch):
    monkeypatch.setattr(in_parts, "LOGITS_AT_ONCE", 30)
    hidden = torch.tensor([[1000.0], [500.0], [0.0]], requires_grad=True)
    weight = torch.zeros(15, 1)
    weight[3] = 1.0
    loss = summed_loss(Head(weight), hidden, torch.tensor([0, 3, 5]), None)
    assert loss.item() == pytest.approx(1000 + math.log(15))
    loss.backward()
    assert hidden.grad.flatten().tolist() == pytest.approx([1.0, 0.0, 1 / 15])


def test_a_gradient_is_not_kept_for_a_second_time(monkeypatch):
    monkeypatch.setattr(in_parts, "LOGITS_AT_ONCE", 30)
    weight = torch.ones(15, 4, requires_grad=True)
    loss = summed_loss(Head(weight), torch.ones(9, 4), torch.zeros(9, dtype=torch.long), None)
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="asked for before"):
        loss.backward()


def test_a_constraint_holds_in_parts(monkeypatch):
    decoder = tiny_decoder(**vars(constrained_config()) | {"sites": ("x0.pre", "a0.0", "a0.1")})
    decoder.constrain(TASK)
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
    decoder.body.head.weight.requires_grad_(False)
    monkeypatch.setattr(in_parts, "LOGITS_AT_ONCE", 100)
    decoder(tokens, z, site, RAGGED, targets(tokens)).backward()
    assert decoder.body.head.weight.grad is None
    assert decoder.body.token_embedding.weight.grad.abs().sum() > 0


@torch.no_grad()
def test_a_loss_without_gradients(monkeypatch):
    decoder, tokens = tiny_decoder(), inputs(6)
    z, site = activations(6)
    plain = decoder(tokens, z, site, RAGGED, targets(tokens))
    monkeypatch.setattr(in_parts, "LOGITS_AT_ONCE", 100)
    torch.testing.assert_close(decoder(tokens, z, site, RAGGED, targets(tokens)), plain)
