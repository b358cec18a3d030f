"""Muon for the weight matrices, AdamW for everything else or for all, stepped and saved as one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from inversionview.errors import UserError
from inversionview.training.config import TrainingConfig

COEFFICIENTS = ((8.0934, -23.6204, 17.4462), (3.6366, -2.7219, 0.5365), (2.6613, -1.9772, 0.4526))
"""Of a s + b s^3 + c s^5, which each round of an update applies to the singular values s, where the largest is 1.

Each round's is the one nearest to 1 on what the round before makes of 0.01 to 1, as in Polar Express (arXiv
2505.16932): those values end within 0.27 of 1, and lower ones at 78 times what they were, at most.
"""
SAFETY = 1.01
"""How far the bound on the largest singular value is raised, as rounding may have lowered it."""


def orthogonalize(
    matrices: Float[Tensor, "matrix row column"], dtype: torch.dtype
) -> Float[Tensor, "matrix row column"]:
    """Bring the singular values of each matrix near 1 and keep its singular vectors, computing and given in `dtype`.

    They are taken relative to a bound on the largest: the fourth root of the sum of their fourth powers.
    """
    if matrices.shape[-2] > matrices.shape[-1]:
        turned: Tensor = orthogonalize(matrices.mT, dtype).mT
        return turned
    result: Tensor = (matrices / _norms(matrices)).to(dtype)
    gram = result @ result.mT
    bound = SAFETY * _norms(gram).sqrt()
    result, gram = result / bound, gram / bound.square()
    for index, (a, b, c) in enumerate(COEFFICIENTS):
        gram = result @ result.mT if index else gram
        result = torch.baddbmm(result, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), result, beta=a)
    return result


def _norms(matrices: Float[Tensor, "matrix row column"]) -> Float[Tensor, "matrix 1 1"]:
    norms: Tensor = torch.linalg.vector_norm(matrices, dim=(-2, -1), keepdim=True)
    return norms.clamp_min(1e-7)


class Muon(torch.optim.Optimizer):
    """Momentum whose update of a matrix is orthogonalised (Jordan 2024), as in `torch.optim.Muon`.

    Written anew for three things: matrices of one shape are orthogonalised together, in three rounds and at every step
    or not, and the number format is ours to choose (torch's always rounds to bf16, which is slow on most CPUs and lets
    two processes drift apart from one).
    """

    turn = 0
    """Steps done so far, by which it is known whose turn it is."""

    def __init__(
        self,
        matrices: Iterable[nn.Parameter],
        *,
        lr: float,
        weight_decay: float,
        momentum: float = 0.95,
        every: int = 1,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__(matrices, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})
        self.every, self.dtype = every, dtype

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Take in every gradient, and update those matrices whose turn it is."""
        for group in self.param_groups:
            due: dict[torch.Size, list[nn.Parameter]] = defaultdict(list)
            waiting = []
            for index, matrix in enumerate(group["params"]):
                if matrix.grad is None:
                    continue
                if not self.state[matrix]:
                    self.state[matrix]["momentum"] = torch.zeros_like(matrix.grad)
                if (self.turn + index) % self.every == 0:
                    due[matrix.shape].append(matrix)
                else:
                    waiting.append(matrix)
            self._accumulate(waiting, group)
            for matrices in due.values():
                self._update(matrices, group)

    def _accumulate(self, matrices: list[nn.Parameter], group: dict[str, Any]) -> tuple[list[Tensor], list[Tensor]]:
        """Give the gradients of the matrices and their momenta, which are brought up to date."""
        gradients = [matrix.grad for matrix in matrices if matrix.grad is not None]
        momenta = [self.state[matrix]["momentum"] for matrix in matrices]
        if momenta:
            torch._foreach_lerp_(momenta, gradients, 1 - group["momentum"])
        return gradients, momenta

    def _update(self, matrices: list[nn.Parameter], group: dict[str, Any]) -> None:
        weights: list[Tensor] = [*matrices]
        gradients, momenta = self._accumulate(matrices, group)
        ahead = torch._foreach_lerp(gradients, momenta, group["momentum"])
        updates = orthogonalize(torch.stack(ahead), self.dtype).to(matrices[0].dtype).unbind()
        rows, columns = matrices[0].shape
        length = self.every * group["lr"]
        torch._foreach_mul_(weights, 1 - length * group["weight_decay"])
        torch._foreach_add_(weights, updates, alpha=-length * max(1, rows / columns) ** 0.5)


class Optimizers:
    """Both optimisers of one module, behind one `step`; their state is tensors named after the parameters."""

    def __init__(self, module: nn.Module, config: TrainingConfig, dtype: torch.dtype) -> None:
        self._names: dict[Tensor, str] = {
            parameter: name for name, parameter in module.named_parameters() if parameter.requires_grad
        }
        rate, every = config.learning_rate_matrices, config.matrices_every
        matrices = [] if rate is None else [matrix for matrix in matrix_parameters(module) if matrix.requires_grad]
        chosen = set(matrices)
        rest = [parameter for parameter in self._names if parameter not in chosen]
        decays = config.weight_decay
        groups = [
            {"params": [parameter for parameter in rest if parameter.ndim >= 2], "weight_decay": decays},
            {"params": [parameter for parameter in rest if parameter.ndim < 2], "weight_decay": 0.0},
        ]
        self._parts: list[torch.optim.Optimizer] = []
        if rate is not None and matrices:
            self._parts.append(Muon(matrices, lr=rate, weight_decay=decays, every=every, dtype=dtype))
        if groups := [group for group in groups if group["params"]]:
            self._parts.append(torch.optim.AdamW(groups, lr=config.learning_rate, fused=_can_fuse(rest)))
        self._peaks = [(group, group["lr"]) for part in self._parts for group in part.param_groups]

    def step(self, factor: float, turn: int) -> None:
        """Take the step after `turn` steps at `factor` times the peak learning rates, and drop the gradients."""
        for group, peak in self._peaks:
            group["lr"] = factor * peak
        for part in self._parts:
            if isinstance(part, Muon):
                part.turn = turn
            part.step()
            part.zero_grad()

    def tensors(self) -> dict[str, Tensor]:
        """Give all state by name, `PARAMETER/KEY`."""
        return {
            f"{self._names[parameter]}/{key}": value
            for part in self._parts
            for parameter, state in part.state.items()
            for key, value in state.items()
        }

    def load_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Take back what `tensors` gave; a parameter without a name is a `UserError`."""
        parameters = {self._names[parameter]: (part, parameter) for part in self._parts for parameter in _of(part)}
        for full_name, value in tensors.items():
            name, _, key = full_name.rpartition("/")
            if name not in parameters:
                raise UserError(f"the optimiser's state has {name}, which the module to be trained lacks")
            part, parameter = parameters[name]
            # Cloned for its alignment, on which the last bits of a product may depend; a file's tensors lie anywhere.
            part.state[parameter][key] = value.to(parameter.device, copy=True)


def matrix_parameters(module: nn.Module) -> list[nn.Parameter]:
    """Give the weight matrices of the hidden layers: what the module's `matrix_parameters()` says.

    Without that method: weights with two axes (of Linear, or GPT-2's Conv1D), but of no embedding and of no head. A
    head is what is tied to an embedding, what `get_output_embeddings()` gives, or is called so.
    """
    if offered := getattr(module, "matrix_parameters", None):
        return list(offered())
    head = getattr(module, "get_output_embeddings", lambda: None)()
    excluded = {part.weight for part in module.modules() if isinstance(part, nn.Embedding) or part is head}
    matrices: dict[nn.Parameter, None] = {}  # in order, each once
    for name, part in module.named_modules():
        weight = getattr(part, "weight", None)
        is_head = {"head", "lm_head", "unembed"} & {name.rpartition(".")[2]}
        if isinstance(weight, nn.Parameter) and weight.ndim == 2 and weight not in excluded and not is_head:
            matrices[weight] = None
    return list(matrices)


def _of(optimizer: torch.optim.Optimizer) -> list[nn.Parameter]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def _can_fuse(parameters: list[Tensor]) -> bool:
    return all(parameter.device.type in ("cpu", "cuda") for parameter in parameters)
