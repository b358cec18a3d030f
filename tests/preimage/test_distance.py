from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from inversionview.errors import UserError
from inversionview.preimage.distance import distances, pairwise_distances, within_distance

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


def some_pairs(seed: int, spread: float, width: int = 8):
    """Queries of very different lengths; activations some `spread` of the length of one away from it, or much more."""
    g = torch.Generator().manual_seed(seed)
    z_q = torch.randn(5, width, generator=g) * torch.tensor([0.01, 1, 1, 30, 500.0])[:, None]
    owner = torch.randint(5, (400,), generator=g)
    away = torch.nn.functional.normalize(torch.randn(400, width, generator=g), dim=1)
    lengths = z_q.norm(dim=1)[owner] * spread * (0.5 + torch.rand(400, generator=g))
    return z_q, torch.cat([z_q[owner] + away * lengths[:, None], 1e4 * torch.randn(20, width, generator=g), z_q])


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_pairs_have_the_distances_of_one_to_one(metric):
    z_q, z = some_pairs(0, 0.3)
    found = pairwise_distances(z_q, z, metric)
    assert found.shape == (5, len(z))
    expected = distances(z.expand(5, -1, -1), z_q[:, None], metric)
    torch.testing.assert_close(found, expected, atol=2e-6, rtol=2e-6)


def test_the_smallest_of_pairwise_distances_keep_their_digits():
    z_q = torch.randn(1, 32, generator=torch.Generator().manual_seed(0))
    z = z_q + torch.tensor([[0.0], [1e-6], [1e-5], [1e-4]]) * z_q.norm() / 32**0.5
    torch.testing.assert_close(pairwise_distances(z_q, z)[0], distances(z, z_q[0]), atol=1e-9, rtol=1e-4)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**31), st.sampled_from([1e-4, 0.001, 0.02, 0.1, 0.9, 3.0]), st.sampled_from([8, 64]))
def test_within_is_where_the_distance_is_at_most_epsilon(seed, epsilon, width):
    z_q, z = some_pairs(seed, epsilon, width)
    expected = distances(z.expand(5, -1, -1), z_q[:, None]).double()
    found = within_distance(z_q, z, epsilon)
    assert 0 < found.sum() < found.numel()
    # what is nearer to epsilon than fp32 can tell may fall on either side
    clear = (expected - epsilon).abs() > 2e-7 * (1 + epsilon)
    assert torch.equal(found[clear], (expected <= epsilon)[clear])


def test_within_tells_apart_what_squares_in_fp32_cannot():
    """|z|² + |q|² - 2 z·q is off by some 1e-7 of |q|², which is more than 0.0003 of its length."""
    z_q = torch.randn(1, 64, generator=torch.Generator().manual_seed(1))
    along = torch.nn.functional.normalize(torch.randn(64, generator=torch.Generator().manual_seed(2)), dim=0)
    steps = torch.linspace(0, 6e-4, 61)[:, None]
    found = within_distance(z_q, z_q + steps * along * z_q.norm(), 3.05e-4)
    assert found[0].tolist() == [True] * 31 + [False] * 30


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_within_takes_epsilon_itself_and_a_zero_activation(metric):
    z_q, z = torch.tensor([[3.0, 4.0]]), torch.tensor([[6.0, 8.0], [0.0, 0.0], [-3.0, -4.0]])
    assert within_distance(z_q, z, 1.0, metric).tolist() == [[True, True, False]]
    assert within_distance(z_q, z, 2.0, metric).tolist() == [[True, True, True]]
    assert within_distance(z_q, z, 0.99, metric).tolist() == [[metric == "cosine", False, False]]


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_pairs_refuse_what_one_to_one_refuses(metric):
    z = torch.ones(4, 8)
    for function in (pairwise_distances, lambda z_q, z, metric: within_distance(z_q, z, 0.1, metric)):
        with pytest.raises(UserError, match="norm 0"):
            function(torch.stack([torch.ones(8), torch.zeros(8)]), z, metric)
        with pytest.raises(UserError, match="not finite"):
            function(torch.full((1, 8), torch.nan), z, metric)
        assert function(z[:0], z, metric).shape == (0, 4)
        assert function(z, z[:0], metric).shape == (4, 0)
