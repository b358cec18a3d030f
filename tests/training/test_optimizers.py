"""Muon against torch's, and which parameter goes where."""

import numpy as np
import pytest
import torch
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel

from inversionview.errors import UserError
from inversionview.training import optimizers
from inversionview.training.optimizers import Muon, Optimizers, matrix_parameters, orthogonalize
from tests.training.toy import Net, config


def spectrum(values, rows, columns):
    """A matrix with these singular values."""
    left = torch.linalg.qr(torch.randn(rows, len(values)))[0]
    right = torch.linalg.qr(torch.randn(columns, len(values)))[0]
    return left * torch.tensor(values) @ right.T, left @ right.T


def in_rounds(values):
    """What the rounds make of singular values, by the definition and in fp64."""
    result = np.asarray(values) / (optimizers.SAFETY * (np.asarray(values) ** 4).sum() ** 0.25)
    for a, b, c in optimizers.COEFFICIENTS:
        result = a * result + b * result**3 + c * result**5
    return result


@pytest.mark.parametrize("shape", [(12, 20), (20, 12), (12, 12)])
def test_orthogonalizing_brings_singular_values_near_one_and_keeps_the_vectors(shape):
    torch.manual_seed(0)
    values = torch.logspace(-1.9, 0, 12).tolist()
    matrix, nearest = spectrum(values, *shape)
    result = orthogonalize(3e-5 * matrix[None], torch.float32)[0]
    found = torch.linalg.svdvals(result)
    assert 0.72 < found.min() < found.max() < 1.28
    assert np.sort(in_rounds(values)) == pytest.approx(np.sort(found.numpy()), rel=1e-3)
    assert torch.linalg.svdvals(result @ nearest.T).sum() == pytest.approx(found.sum().item(), rel=1e-4)
    assert torch.trace(result.T @ nearest) == pytest.approx(found.sum().item(), rel=1e-4)


def test_the_rounds_keep_every_singular_value_within_bounds_and_lift_the_small_ones():
    values = np.linspace(0.01, 1, 5000)
    kept = values
    for a, b, c in optimizers.COEFFICIENTS:
        kept = a * kept + b * kept**3 + c * kept**5
    assert 0.725 < kept.min() < kept.max() < 1.275
    low = np.linspace(1e-6, 0.01, 500)
    lifted = low
    for a, b, c in optimizers.COEFFICIENTS:
        lifted = a * lifted + b * lifted**3 + c * lifted**5
    assert (np.diff(lifted) > 0).all()
    assert 70 < (lifted / low).min() < (lifted / low).max() < 79


def test_a_matrix_of_rank_one_stays_within_bounds_in_bf16():
    torch.manual_seed(0)
    matrix = torch.randn(64, 1) @ torch.randn(1, 96)
    found = torch.linalg.svdvals(orthogonalize(matrix[None], torch.bfloat16)[0].float())
    assert 0.7 < found[0] < 1.3
    assert found[1] < 0.2


def test_bf16_changes_little():
    torch.manual_seed(0)
    matrix, _ = spectrum(torch.logspace(-1.5, 0, 32).tolist(), 32, 64)
    rounded, exact = (orthogonalize(matrix[None], dtype) for dtype in (torch.bfloat16, torch.float32))
    assert rounded.dtype == torch.bfloat16
    assert (rounded.float() - exact).norm() < 0.05 * exact.norm()


def test_matrices_of_one_shape_are_treated_as_if_alone():
    torch.manual_seed(0)
    matrices = torch.randn(3, 8, 5)
    together = orthogonalize(matrices, torch.float32)
    alone = torch.cat([orthogonalize(matrix[None], torch.float32) for matrix in matrices])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)
    assert torch.equal(orthogonalize(torch.zeros(1, 3, 4), torch.float32), torch.zeros(1, 3, 4))


SHAPES = [(6, 10), (10, 6), (6, 10), (7, 7)]


def test_muon_is_torchs_but_for_the_rounds(monkeypatch):
    def ours_alone(gradient, coefficients, rounds, eps):
        return orthogonalize(gradient[None], torch.bfloat16)[0]

    monkeypatch.setattr("torch.optim._muon._zeropower_via_newtonschulz", ours_alone)
    torch.manual_seed(0)
    ours, theirs = ([nn.Parameter(torch.ones(shape)) for shape in SHAPES] for _ in range(2))
    steps = (
        Muon(ours, lr=0.1, weight_decay=0.3, dtype=torch.bfloat16),
        torch.optim.Muon(theirs, lr=0.1, weight_decay=0.3),
    )
    for _ in range(4):
        for own, other in zip(ours, theirs, strict=True):
            own.grad = torch.randn_like(own)
            other.grad = own.grad.clone()
        for optimizer in steps:
            optimizer.step()
    for own, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(own, other, rtol=0.02, atol=0.01)


@pytest.mark.parametrize("every", [1, 2, 3])
def test_each_matrix_moves_at_its_turns_by_the_momentum_of_all_steps(every):
    torch.manual_seed(0)
    ours = [nn.Parameter(torch.ones(shape)) for shape in SHAPES]
    by_hand = [weight.detach().clone() for weight in ours]
    momenta = [torch.zeros(shape) for shape in SHAPES]
    muon = Muon(ours, lr=0.1, weight_decay=0.3, every=every)
    for turn in range(5):
        muon.turn = turn
        for index, weight in enumerate(ours):
            weight.grad = torch.randn_like(weight)
            momenta[index] = 0.95 * momenta[index] + 0.05 * weight.grad
            if (turn + index) % every == 0:
                ahead = 0.05 * weight.grad + 0.95 * momenta[index]
                update = orthogonalize(ahead[None], torch.float32)[0]
                length = every * 0.1
                by_hand[index] *= 1 - length * 0.3
                by_hand[index] -= length * max(1, len(weight) / weight.shape[1]) ** 0.5 * update
        muon.step()
        for weight, expected in zip(ours, by_hand, strict=True):
            torch.testing.assert_close(weight.detach(), expected, rtol=1e-4, atol=1e-5)


def test_matrices_are_hidden_weights_only():
    net = Net()
    assert [id(weight) for weight in matrix_parameters(net)] == [id(net.up.weight), id(net.down.weight)]
    untied = nn.ModuleDict({"body": nn.Linear(3, 3), "unembed": nn.Linear(3, 5), "norm": nn.LayerNorm(3)})
    assert [id(weight) for weight in matrix_parameters(untied)] == [id(untied["body"].weight)]
    net.matrix_parameters = lambda: [net.down.weight]
    assert matrix_parameters(net) == [net.down.weight]


def test_gpt2s_matrices_are_found():
    model = GPT2LMHeadModel(GPT2Config(n_layer=2, n_head=2, n_embd=8, vocab_size=11, n_positions=6))
    found = {id(weight) for weight in matrix_parameters(model)}
    assert found == {id(value) for name, value in model.named_parameters() if ".h." in name and value.ndim == 2}


def step_all(net, optimizer, seed, factor=1.0, turn=0):
    torch.manual_seed(seed)
    for parameter in net.parameters():
        parameter.grad = torch.randn_like(parameter)
    optimizer.step(factor, turn)


def test_state_goes_through_tensors_and_back():
    nets = [Net(), Net()]
    nets[1].load_state_dict(nets[0].state_dict())
    first = Optimizers(nets[0], config(), torch.float32)
    step_all(nets[0], first, 1)
    saved = first.tensors()
    assert {"up.weight/momentum", "embed.weight/exp_avg", "up.bias/step"} <= saved.keys()
    assert "head.weight/exp_avg" not in saved
    nets[1].load_state_dict(nets[0].state_dict())
    second = Optimizers(nets[1], config(), torch.float32)
    second.load_tensors({name: tensor.clone() for name, tensor in saved.items()})
    for net, optimizer in zip(nets, (first, second), strict=True):
        step_all(net, optimizer, 2, factor=0.5, turn=1)
        assert all(parameter.grad is None for parameter in net.parameters())
    assert all(torch.equal(own, other) for own, other in zip(nets[0].parameters(), nets[1].parameters(), strict=True))


def test_rates_and_decay_reach_the_right_parameters():
    net = Net()
    before = {name: value.clone() for name, value in net.named_parameters()}
    optimizer = Optimizers(net, config(learning_rate=0.1, learning_rate_matrices=0.2, weight_decay=0.5), torch.float32)
    for parameter in net.parameters():
        parameter.grad = torch.zeros_like(parameter)
    net.up.weight.requires_grad_(True)
    optimizer.step(0.5, 0)
    now = dict(net.named_parameters())
    torch.testing.assert_close(now["up.weight"], before["up.weight"] * (1 - 0.2 * 0.5 * 0.5))
    torch.testing.assert_close(now["embed.weight"], before["embed.weight"] * (1 - 0.1 * 0.5 * 0.5))
    assert torch.equal(now["up.bias"], before["up.bias"])


def test_frozen_and_unused_parameters_stay():
    net = Net()
    net.up.weight.requires_grad_(False)
    net.embed.weight.requires_grad_(False)
    before = [value.clone() for value in net.parameters()]
    optimizer = Optimizers(net, config(), torch.float32)
    net.down.bias.grad = torch.ones(8)
    optimizer.step(1.0, 0)
    changed = [not torch.equal(old, new) for old, new in zip(before, net.parameters(), strict=True)]
    assert [name for (name, _), new in zip(net.named_parameters(), changed, strict=True) if new] == ["down.bias"]


def test_state_of_another_module_is_refused():
    optimizer = Optimizers(Net(), config(), torch.float32)
    with pytest.raises(UserError, match=r"has other\.weight, which the module to be trained lacks"):
        optimizer.load_tensors({"other.weight/momentum": torch.zeros(2)})


def test_without_a_rate_for_matrices_all_weights_are_adamws():
    torch.manual_seed(0)
    ours, theirs = Net(), Net()
    theirs.load_state_dict(ours.state_dict())
    options = {"learning_rate": 1e-3, "weight_decay": 0.1}
    optimizers = Optimizers(ours, config(learning_rate_matrices=None, **options), torch.float32)
    weights, others = ([p for p in theirs.parameters() if (p.ndim >= 2) == two] for two in (True, False))
    groups = [{"params": weights, "weight_decay": options["weight_decay"]}, {"params": others, "weight_decay": 0.0}]
    adamw = torch.optim.AdamW(groups, lr=options["learning_rate"])
    tokens = torch.arange(7)
    for step in range(3):
        for module in (ours, theirs):
            nn.functional.cross_entropy(module(tokens), (tokens + 1) % 7).backward()
        optimizers.step(1.0, step)
        adamw.step()
        adamw.zero_grad()
    for found, expected in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(found, expected)
    assert len(optimizers.tensors()) == 3 * len(list(ours.parameters()))
