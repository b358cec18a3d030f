"""The number format to compute in: measured, not guessed from the name of the hardware."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from functools import cache
from time import perf_counter

import torch
from torch import nn

WORTHWHILE = 1.3
"""bf16 has to multiply matrices this many times as fast as fp32 to be worth its rounding."""
TURNS = 5
"""In which both are measured."""


def matmul_rate(
    dtype: torch.dtype,
    device: torch.device | str,
    size: int = 2048,
    *,
    threads: int | None = None,
    seconds: float = 0.3,
) -> float:
    """Measure the rate of square matrix products in FLOP/s: the best of at least three, over about `seconds`.

    `threads` is the number of CPU threads, by default as many as torch uses now.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    try:
        left = torch.linspace(-1, 1, size * size, device=device).to(dtype).view(size, size)
        right = left.flip(0).contiguous()
        torch.mm(left, right)  # the first one sets up
        times = [_timed_product(left, right)]
        while len(times) < 3 or sum(times) < seconds:
            times.append(_timed_product(left, right))
    finally:
        torch.set_num_threads(before)
    return 2 * size**3 / min(times)


def fast_dtype(device: torch.device | str) -> torch.dtype:
    """Give bfloat16 where its matrix products are at least 1.3 times as fast as float32's on this device, else float32.

    Measured once a process and device (about 0.2 s), by turns, so that other work on the machine meets both alike.
    """
    return _fast_dtype(str(torch.device(device)), torch.get_num_threads())


@cache
def _fast_dtype(device: str, threads: int) -> torch.dtype:
    kind = torch.device(device).type
    if kind not in ("cpu", "cuda") or (kind == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False)):
        return torch.float32
    size = 512 if kind == "cpu" else 4096
    turns = [
        [matmul_rate(dtype, device, size, seconds=0.01) for dtype in (torch.float32, torch.bfloat16)]
        for _ in range(TURNS)
    ]
    full, half = map(max, zip(*turns, strict=True))
    return torch.bfloat16 if half >= WORTHWHILE * full else torch.float32


def resolve_precision(precision: str, device: torch.device | str) -> torch.dtype:
    """Give the number format that "auto", "fp32" or "bf16" means on this device."""
    if precision == "auto":
        return fast_dtype(device)
    return torch.bfloat16 if precision == "bf16" else torch.float32


def computing_in(dtype: torch.dtype, module: nn.Module, device: torch.device) -> AbstractContextManager[object]:
    """Give the context that makes a forward pass compute in `dtype`: autocasting, unless the module sees to it."""
    if dtype == torch.float32 or hasattr(module, "compute_dtype"):
        return nullcontext()
    return torch.autocast(device.type, dtype=dtype)


def synchronize(device: torch.device) -> None:
    """Wait until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _timed_product(left: torch.Tensor, right: torch.Tensor) -> float:
    synchronize(left.device)
    start = perf_counter()
    torch.mm(left, right)
    synchronize(left.device)
    return perf_counter() - start
