"""bf16 is taken where it is measured to be worth it, and nowhere else."""

import pytest
import torch

from inversionview.training import default_device, precision


@pytest.fixture
def rates(monkeypatch):
    """Set what a measurement finds, in FLOP/s by number format."""
    found, asked = {}, []

    def measure(dtype, device, size, **_):
        asked.append(dtype)
        return found[dtype]

    monkeypatch.setattr(precision, "matmul_rate", measure)
    precision._fast_dtype.cache_clear()
    yield found, asked
    precision._fast_dtype.cache_clear()


@pytest.mark.parametrize(("times", "chosen"), [(4.0, torch.bfloat16), (1.31, torch.bfloat16), (1.2, torch.float32)])
def test_auto_is_what_is_measured_once(rates, times, chosen):
    found, asked = rates
    found |= {torch.float32: 1e9, torch.bfloat16: times * 1e9}
    assert precision.resolve_precision("auto", "cpu") == chosen
    assert precision.fast_dtype(torch.device("cpu")) == chosen
    assert len(asked) == 2 * precision.TURNS


def test_what_is_asked_for_is_not_measured(rates):
    assert precision.resolve_precision("bf16", "cpu") == torch.bfloat16
    assert precision.resolve_precision("fp32", "cpu") == torch.float32
    assert precision.fast_dtype("mps") == torch.float32
    assert rates[1] == []


def test_the_rate_is_of_products_and_leaves_the_threads_alone(monkeypatch):
    products, threads = [], torch.get_num_threads()
    multiply = torch.mm

    def counted(left, right):
        products.append((left.dtype, tuple(left.shape), torch.get_num_threads()))
        return multiply(left, right)

    monkeypatch.setattr(torch, "mm", counted)
    rate = precision.matmul_rate(torch.bfloat16, "cpu", 32, threads=threads + 1, seconds=0.0)
    assert rate > 0
    assert products == [(torch.bfloat16, (32, 32), threads + 1)] * 4
    assert torch.get_num_threads() == threads


def test_the_device_is_the_processs_own(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert default_device() == torch.device("cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setenv("LOCAL_RANK", "3")
    assert default_device() == torch.device("cuda", 3)


def test_a_disturbed_measurement_does_not_decide(monkeypatch):
    precision._fast_dtype.cache_clear()
    turns = iter([(100.0, 40.0), (90.0, 210.0), (100.0, 90.0), (20.0, 30.0), (70.0, 60.0)])
    left = iter(rate for turn in turns for rate in turn)
    monkeypatch.setattr(precision, "matmul_rate", lambda *_, **__: next(left))
    assert precision.fast_dtype("cpu") == torch.bfloat16
    precision._fast_dtype.cache_clear()
