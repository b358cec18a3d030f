from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import torch

from inversionview.criterion import Criterion
from inversionview.errors import UserError
from inversionview.preimage.epsilon import null as module
from inversionview.preimage.epsilon.null import null_epsilon
from inversionview.sites import Site
from tests.preimage.tiny import probed, task, with_criterion

N = 400


def measure(share: float = 0.2, sites=("x0.post",), model=None, seed: int = 0, **changes):
    options = {"n": N, "generator": torch.Generator().manual_seed(seed)} | changes
    return null_epsilon(model or probed(0, "raw"), task(), sites, share, **with_criterion(options))


def hidden(tokens):
    """x0.post by plain Hugging Face: the hidden state after the first block."""
    with torch.no_grad():
        return probed(0, "raw").model(tokens, output_hidden_states=True).hidden_states[1].double()


def brute_force(pairs, metric: str, rule: str) -> np.ndarray:
    """Distances of the pairs, one at a time."""
    found = []
    rows = zip(hidden(pairs.queries), pairs.positions.tolist(), hidden(pairs.others), pairs.others, strict=True)
    for query, position, z, other in rows:
        z_q = query[position]
        if metric == "euclidean":
            d = (z - z_q).norm(dim=-1) / z_q.norm()
        else:
            d = 1 - torch.nn.functional.cosine_similarity(z, z_q[None], dim=-1)
        end = other.tolist().index(13)  # in addition, a role is at the same index in every input
        found.append(float(d[1:end].min()) if rule == "any" else float(d[position]) if position < end else math.inf)
    return np.array(found)


@pytest.fixture
def drawn(monkeypatch):
    kept = []
    real = module._draw

    def spy(*args):
        kept.append(real(*args))
        return kept[-1]

    monkeypatch.setattr(module, "_draw", spy)
    return kept


@pytest.mark.parametrize("rule", ["same", "any"])
@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_at_epsilon_the_share_of_pairs_match(monkeypatch, drawn, rule, metric):
    monkeypatch.setattr(module, "_BLOCK_PAIRS", 37)
    found = measure(0.2, metric=metric, position_rule=rule)["x0.post"]
    [pairs] = drawn
    expected = np.sort(brute_force(pairs, metric, rule))
    rank = round(0.2 * N)
    assert found.epsilon == pytest.approx(expected[rank - 1], abs=1e-6)
    assert found.interval[0] < found.epsilon < found.interval[1]
    assert np.isclose(found.interval[0], expected, atol=1e-6).any()
    assert np.isclose(found.interval[1], expected, atol=1e-6).any()
    assert found.n == N
    assert f"0.2 of {N} unrelated pairs" in found.detail


def test_pairs_are_independent_and_positions_uniform_over_the_eligible(drawn):
    measure(0.2, n=3000)
    [pairs] = drawn
    assert task().contains(pairs.queries).all()
    assert task().contains(pairs.others).all()
    assert (pairs.queries != pairs.others).any(dim=1).float().mean() > 0.99
    eligible = task().eligible(pairs.queries)
    assert eligible.gather(1, pairs.positions[:, None]).all()
    expected = (eligible / eligible.sum(1, keepdim=True)).sum(0)
    counts = torch.bincount(pairs.positions, minlength=14)
    assert ((counts - expected).abs() < 5 * expected.clamp_min(1).sqrt()).all()


def test_it_is_the_epsilon_at_which_the_floor_of_evaluate_is_the_share():
    from inversionview.decoder.training import make_decoder
    from inversionview.preimage.estimates.rates import in_epsilon

    raw, site = probed(0, "raw"), Site.parse("x1.pre")
    small = make_decoder(raw, task(), [site], d_model=8, n_heads=1, trunk_blocks=1, trunk_width=8, n_statistics=64)
    for rule in ("same", "any"):
        epsilon = measure(0.2, [site], n=1000, position_rule=rule)["x1.pre"].epsilon
        generator = torch.Generator().manual_seed(3)
        floor = in_epsilon(small, raw, task(), 1000, criterion=Criterion.parse(epsilon), generator=generator).floor
        rate = getattr(floor, rule).mean()
        assert abs(rate - 0.2) < 4 * math.sqrt(0.2 * 0.8 * (1 / 1000 + 1 / 1000))


def test_a_role_is_calibrated_on_its_own(drawn):
    found = measure(0.2, role="A4", seed=1)["x0.post"]
    [pairs] = drawn
    assert (pairs.positions == 12).all()
    assert len(pairs.queries) == N
    expected = np.sort(brute_force(pairs, "euclidean", "same"))
    assert found.epsilon == pytest.approx(expected[round(0.2 * N) - 1], abs=1e-6)
    assert found.epsilon != measure(0.2, role="=", seed=1)["x0.post"].epsilon


def test_all_sites_come_from_the_same_pairs_as_each_alone():
    names = ("a0.1", "x0.post", "x1.post")
    found = measure(0.2, names, probed())
    assert tuple(found) == names
    for name in names:
        alone = measure(0.2, [Site.parse(name)], probed())[name]
        assert alone.epsilon == pytest.approx(found[name].epsilon, rel=1e-5)


@pytest.mark.parametrize("rule", ["same", "any"])
def test_epsilon_grows_with_the_share(rule):
    found = [measure(share, position_rule=rule)["x0.post"] for share in (0.15, 0.3, 0.5, 0.7)]
    assert all(a.epsilon < b.epsilon for a, b in pairwise(found))
    assert all(a.interval[1] <= b.interval[1] for a, b in pairwise(found))


def test_any_is_never_wider_than_same():
    assert measure(0.5, position_rule="any")["x0.post"].epsilon <= measure(0.5)["x0.post"].epsilon


def test_the_seed_decides():
    before = torch.random.get_rng_state()
    assert measure(seed=4) == measure(seed=4)
    assert measure(seed=4) != measure(seed=5)
    assert (torch.random.get_rng_state() == before).all()


@pytest.mark.parametrize(("n", "share"), [(1000, 0.01), (200, 0.05), (100, 0.1), (100, 0.5), (60, 0.9), (37, 0.4)])
def test_the_interval_holds_the_quantile_95_times_in_100_and_no_narrower_one_does(n, share):
    """Coverage of order statistics, from the binomial probabilities summed by hand."""
    found = module._calibrated(np.arange(1.0, n + 1), share)  # each distance is its rank
    probability = [math.comb(n, k) * share**k * (1 - share) ** (n - k) for k in range(n + 1)]
    low, high = int(found.interval[0]), int(min(found.interval[1], n + 1))
    assert found.epsilon == math.ceil(round(n * share, 6))
    assert sum(probability[:low]) <= 0.025  # the true quantile lies below the lower end
    assert sum(probability[: low + 1]) > 0.025
    assert sum(probability[high:]) <= 0.025
    assert sum(probability[high - 1 :]) > 0.025


def test_a_share_near_1_has_no_upper_end():
    assert module._calibrated(np.arange(1.0, 101), 0.99).interval[1] == math.inf


@pytest.mark.parametrize("share", [0, 1, -0.1, 1.5, float("nan")])
def test_a_share_outside_0_and_1_is_refused(share):
    with pytest.raises(UserError, match="must be between 0 and 1"):
        measure(share)


def test_too_few_pairs_are_refused():
    with pytest.raises(UserError, match=r"null:0.01 needs at least 1000 pairs, 10 of them within it, not 400"):
        measure(0.01)
    assert measure(0.2, n=50)["x0.post"].n == 50
    with pytest.raises(UserError, match="at least 50 pairs"):
        measure(0.2, n=49)


def test_a_share_that_the_same_activation_already_has_is_refused():
    with pytest.raises(UserError, match=r"null:0.05 is out of reach.* 0\.\d+ of them at x0.pre; use a share") as caught:
        measure(0.05, ["x0.post", "x0.pre"])
    assert "x0.post" not in str(caught.value)  # one in a hundred there


def test_a_share_beyond_the_inputs_that_have_the_role_is_refused():
    with pytest.raises(UserError, match=r"only 0\.[56].* have the query's position"):
        measure(0.9, role="A4")
    assert measure(0.9, role="A4", position_rule="any")["x0.post"].epsilon > 0


def test_no_site_a_role_nobody_has_and_unknown_names_are_refused():
    with pytest.raises(UserError, match="at least one site"):
        measure(sites=[])
    with pytest.raises(UserError, match="addition has no position 'A5'"):
        measure(role="A5")
    with pytest.raises(UserError, match="none of 400 inputs of addition has a position 'B' that may be read"):
        measure(role="B")
    with pytest.raises(UserError, match="unknown metric"):
        measure(metric="manhattan")
    with pytest.raises(UserError, match="unknown position rule"):
        measure(position_rule="both")
