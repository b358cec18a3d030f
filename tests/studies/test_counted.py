"""All inputs of a domain are run by default where that takes minutes, and not where a model makes it days."""

from types import SimpleNamespace

import torch

from inversionview.studies import parts
from inversionview.studies.study import load_study


def fake(size, weights, length):
    model = torch.nn.Linear(weights, 1, bias=False, device="meta")
    return SimpleNamespace(task=SimpleNamespace(size=size, max_length=length), probed=SimpleNamespace(model=model))


def test_the_bundled_studies_with_a_domain_that_ends_are_counted():
    for name in ("addition", "ioi-small", "facts-small"):
        assert parts.counts_all(load_study(name).parts), name


def test_a_large_model_counts_hundreds_of_inputs_and_samples_a_million():
    assert parts.counts_all(fake(800, 135_000_000, 15))
    assert not parts.counts_all(fake(1_000_000, 135_000_000, 15))
    assert not parts.counts_all(fake(None, 100, 15))
