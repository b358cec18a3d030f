"""Muon for the weight matrices, AdamW for everything else, stepped and saved as one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from inversionview.errors import UserError
from inversionview.training.config import TrainingConfig

ROUNDS = 5
"""Newton-Schulz iterations of an update."""
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of a s + b s^3 + c s^5, which each round applies to the singular values s: those from 0.0015 on end in [0.68, 1.21].

From Jordan's Muon (kellerjordan.github.io/posts/muon), as in `torch.optim.Muon`.
"""


def orthogonalize(
    matrices: Float[Tensor, "matrix row column"], dtype: torch.dtype
) -> Float[Tensor, "matrix row column"]:
    """Bring the singular values of each matrix near 1 and keep its singular vectors, computing and given in `dtype`."""
    if matrices.shape[-2] > matrices.shape[-1]:
        turned: Tensor = orthogonalize(matrices.mT, dtype).mT
        return turned
    norms = torch.linalg.vector_norm(matrices, dim=(-2, -1), keepdim=True)
    result: Tensor = (matrices / norms.clamp_min(1e-7)).to(dtype)
    a, b, c = COEFFICIENTS
    for _ in range(ROUNDS):
        gram = result @ result.mT
        result = torch.baddbmm(result, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), result, beta=a)
    return result


class Muon(torch.optim.Optimizer):
    """Momentum whose update of a matrix is orthogonalised (Jordan 2024), as in `torch.optim.Muon`.

    Written anew for two things: matrices of one shape are orthogonalised together, and the number format is ours to
    choose (torch's always rounds to bf16, which is slow on most CPUs and lets two processes drift apart from one).
    """

    def __init__(
        self,
        matrices: Iterable[nn.Parameter],
        *,
        lr: float,
        weight_decay: float,
        momentum: float = 0.95,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__(matrices, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})
        self.dtype = dtype

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Update every matrix that has a gradient."""
        for group in self.param_groups:
            by_shape: dict[torch.Size, list[nn.Parameter]] = defaultdict(list)
            for matrix in group["params"]:
                if matrix.grad is not None:
                    by_shape[matrix.shape].append(matrix)
            for matrices in by_shape.values():
                self._update(matrices, group)

    def _update(self, matrices: list[nn.Parameter], group: dict[str, Any]) -> None:
        weights: list[Tensor] = [*matrices]
        gradients = [matrix.grad for matrix in matrices if matrix.grad is not None]
        for matrix, gradient in zip(matrices, gradients, strict=True):
            if not self.state[matrix]:
                self.state[matrix]["momentum"] = torch.zeros_like(gradient)
        momenta = [self.state[matrix]["momentum"] for matrix in matrices]
        torch._foreach_lerp_(momenta, gradients, 1 - group["momentum"])
        ahead = torch._foreach_lerp(gradients, momenta, group["momentum"])
        updates = orthogonalize(torch.stack(ahead), self.dtype).to(matrices[0].dtype).unbind()
        rows, columns = matrices[0].shape
        torch._foreach_mul_(weights, 1 - group["lr"] * group["weight_decay"])
        torch._foreach_add_(weights, updates, alpha=-group["lr"] * max(1, rows / columns) ** 0.5)


class Optimizers:
    """Both optimisers of one module, behind one `step`; their state is tensors named after the parameters."""

    def __init__(self, module: nn.Module, config: TrainingConfig, dtype: torch.dtype) -> None:
        self._names: dict[Tensor, str] = {
            parameter: name for name, parameter in module.named_parameters() if parameter.requires_grad
        }
        matrices = [matrix for matrix in matrix_parameters(module) if matrix.requires_grad]
        chosen = set(matrices)
        rest = [parameter for parameter in self._names if parameter not in chosen]
        decays = config.weight_decay
        groups = [
            {"params": [parameter for parameter in rest if parameter.ndim >= 2], "weight_decay": decays},
            {"params": [parameter for parameter in rest if parameter.ndim < 2], "weight_decay": 0.0},
        ]
        self._parts: list[torch.optim.Optimizer] = []
        if matrices:
            self._parts.append(Muon(matrices, lr=config.learning_rate_matrices, weight_decay=decays, dtype=dtype))
        if groups := [group for group in groups if group["params"]]:
            self._parts.append(torch.optim.AdamW(groups, lr=config.learning_rate, fused=_can_fuse(rest)))
        self._peaks = [(group, group["lr"]) for part in self._parts for group in part.param_groups]

    def step(self, factor: float) -> None:
        """Update every parameter at `factor` times its peak learning rate, and drop the gradients."""
        for group, peak in self._peaks:
            group["lr"] = factor * peak
        for part in self._parts:
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
