from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from inversionview.errors import UserError
from inversionview.preimage.distance import distances

VECTORS = st.integers(0, 2**31).map(lambda seed: torch.randn(3, 8, generator=torch.Generator().manual_seed(seed)))


@settings(deadline=None)
@given(VECTORS)
def test_both_metrics_are_what_their_formulas_say(vectors):
    z, z_q = vectors[0], vectors[1]
    x, q = z.double(), z_q.double()
    assert distances(z, z_q, "euclidean").item() == pytest.approx(((x - q) @ (x - q) / (q @ q)).sqrt().item(), rel=1e-5)
    cosine = x @ q / ((x @ x).sqrt() * (q @ q).sqrt())
    assert distances(z, z_q, "cosine").item() == pytest.approx(1 - cosine.item(), abs=1e-6)


@settings(deadline=None)
@given(VECTORS)
def test_the_euclidean_distance_obeys_the_triangle_inequality_in_units_of_the_query(vectors):
    a, b, q = vectors
    ab, unit = (a - b).norm(), q.norm()
    assert distances(a, q) <= ab / unit + distances(b, q) + 1e-5


def test_an_activation_is_at_distance_0_from_itself_and_scale_matters_to_one_metric_only():
    z = torch.randn(5, 8)
    for metric in ("euclidean", "cosine"):
        torch.testing.assert_close(distances(z, z, metric), torch.zeros(5), atol=1e-6, rtol=0)
    torch.testing.assert_close(distances(3 * z, z), torch.full((5,), 2.0))
    torch.testing.assert_close(distances(3 * z, z, "cosine"), torch.zeros(5), atol=1e-6, rtol=0)
    torch.testing.assert_close(distances(-z, z, "cosine"), torch.full((5,), 2.0))


def test_one_query_is_broadcast_and_its_own_length_is_the_unit():
    z = torch.randn(2, 4, 8)
    z_q = torch.randn(2, 8)
    found = distances(z, z_q[:, None])
    assert found.shape == (2, 4)
    for i in range(2):
        torch.testing.assert_close(found[i], distances(z[i], z_q[i]))


def test_low_precision_activations_are_compared_in_fp32():
    z, z_q = torch.randn(4, 8).bfloat16(), torch.randn(8).bfloat16()
    assert distances(z, z_q).dtype == torch.float32


def test_a_zero_activation_is_far_from_every_query_in_both_metrics():
    assert distances(torch.zeros(8), torch.ones(8)).item() == 1
    assert distances(torch.zeros(8), torch.ones(8), "cosine").item() == 1


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_a_query_of_norm_0_or_not_finite_is_refused(metric):
    with pytest.raises(UserError, match="norm 0"):
        distances(torch.ones(2, 8), torch.zeros(8), metric)
    with pytest.raises(UserError, match="not finite"):
        distances(torch.ones(2, 8), torch.full((8,), torch.inf), metric)
    with pytest.raises(UserError, match="not finite"):
        distances(torch.ones(2, 8), torch.full((8,), torch.nan), metric)


def test_an_unknown_metric_is_refused_with_the_ones_there_are():
    with pytest.raises(UserError, match="'manhattan': use euclidean or cosine"):
        distances(torch.ones(8), torch.ones(8), "manhattan")
