from __future__ import annotations

import numpy as np
import pytest
import torch

from inversionview.criterion import Criterion
from inversionview.decoder import places
from inversionview.errors import UserError
from inversionview.preimage.estimates import rates
from inversionview.preimage.estimates.rates import in_epsilon, mean_share, share
from tests.preimage.tiny import SITES, decoder, probed, rows, task, with_criterion


def measure(n: int = 40, **changes):
    options = {"epsilon": 0.1, "generator": torch.Generator().manual_seed(0)} | changes
    return in_epsilon(decoder(), probed(), task(), n, **with_criterion(options))


def proposing(monkeypatch, propose):
    """Let the decoder propose what `propose(queries)` gives, [query, pos]."""
    from inversionview.decoder.sampling import Samples

    def fake(decoder, activations, index, n, *, generator):
        tokens = propose(len(activations))
        return Samples(tokens[:, None], torch.zeros(len(tokens), 1))

    monkeypatch.setattr(rates, "sample", fake)


def test_it_measures_n_held_out_queries_for_every_site_at_uniform_eligible_positions(monkeypatch):
    seen = []
    real = rates._own_site

    def spy(probed, tokens, positions, names):
        seen.append((tokens, positions, names))
        return real(probed, tokens, positions, names)

    monkeypatch.setattr(rates, "_own_site", spy)
    found = measure(300)
    [(tokens, positions, names)] = seen
    assert names == SITES
    assert tokens.shape == (300 * len(SITES), 14)
    assert task().is_held_out(tokens).all()
    assert task().eligible(tokens).gather(1, positions[:, None]).all()
    assert torch.equal(tokens, tokens[:300].repeat(len(SITES), 1)), "sites share their queries"
    assert torch.equal(positions, positions[:300].repeat(len(SITES)))
    tokens, positions = tokens[:300], positions[:300]
    counts = torch.bincount(positions, minlength=14)
    assert counts[0] == counts[13] == 0
    expected = (task().eligible(tokens) / task().eligible(tokens).sum(1, keepdim=True)).sum(0)
    assert ((counts - expected).abs() < 5 * expected.clamp_min(1).sqrt()).all()
    for hits in (found.samples, found.floor):
        assert all(mask.shape == (len(SITES), 300) for mask in hits)


def test_the_query_proposed_back_always_hits_and_a_wrong_answer_never_does(monkeypatch):
    generator = torch.Generator().manual_seed(0)
    queries = task().sample(40, generator=generator, split="held-out").repeat(len(SITES), 1)
    proposing(monkeypatch, lambda n: queries)
    found = measure().samples
    assert found.any.all()
    assert found.same.all()
    assert found.in_domain.all()

    wrong = queries.clone()
    wrong[:, 11] = (wrong[:, 11] + 1) % 10  # every distance before it stays 0
    proposing(monkeypatch, lambda n: wrong)
    found = measure(epsilon=1e9).samples
    assert not found.any.any()
    assert not found.same.any()
    assert not found.in_domain.any()


def test_a_candidate_without_the_role_is_a_miss_under_same_only(monkeypatch):
    monkeypatch.setattr(places, "draw_positions", lambda task, tokens, generator: torch.full((len(tokens),), 12))
    long = rows("B615+861=1476E").expand(4, -1)
    monkeypatch.setattr(task(), "sample", lambda n, **_: long)
    proposing(monkeypatch, lambda n: rows("B100+100=200E").expand(n, -1))
    found = measure(4, epsilon=1e9, floor=False)
    assert found.samples.any.all()
    assert not found.samples.same.any()
    assert found.samples.in_domain.all()
    assert found.floor is None


def test_the_floor_agrees_with_one_query_at_a_time(monkeypatch):
    """Each hit is found again by plain Hugging Face: x1.pre, which is x0.post."""
    kept = {}
    real = rates._hits

    def spy(probed, task, names, candidates, *, activations, roles, **rest):
        kept["floor"] = (candidates, activations, roles)
        return real(probed, task, names, candidates, activations=activations, roles=roles, **rest)

    monkeypatch.setattr(rates, "_hits", spy)
    from inversionview.decoder.training import make_decoder
    from inversionview.sites import Site

    raw = probed(0, "raw")
    small = make_decoder(
        raw, task(), [Site.parse("x1.pre")], d_model=8, n_heads=1, trunk_blocks=1, trunk_width=8, n_statistics=64
    )
    generator = torch.Generator().manual_seed(5)
    found = in_epsilon(small, raw, task(), 60, criterion=Criterion.parse(0.5), generator=generator)
    candidates, z_q, roles = kept["floor"]
    assert task().contains(candidates).all()
    for i, (row, z, role) in enumerate(zip(candidates, z_q.double(), roles, strict=True)):
        with torch.no_grad():
            hidden = raw.model(row[None], output_hidden_states=True).hidden_states[1][0].double()
        d = (hidden - z).norm(dim=-1) / z.norm()
        end = row.tolist().index(13)
        place = 1 + task().roles.index(role)
        assert found.floor.any[0, i] == (d[1:end].min() <= 0.5)
        assert found.floor.same[0, i] == (place < end and bool(d[place] <= 0.5))
    assert 0 < found.floor.same.mean() < found.floor.any.mean() < 1


def test_what_hits_under_same_hits_under_any_and_only_within_the_domain():
    found = measure(100, epsilon=1.0)
    for hits in (found.samples, found.floor):
        assert (hits.any >= hits.same).all()
        assert (hits.in_domain >= hits.any).all()
    assert found.floor.in_domain.all()
    assert found.floor.any.any()


def test_the_generator_decides_and_torchs_own_is_left_alone():
    before = torch.random.get_rng_state()
    one, again = measure(20), measure(20)
    other = measure(20, generator=torch.Generator().manual_seed(9))
    assert (torch.random.get_rng_state() == before).all()
    np.testing.assert_array_equal(one.floor.any, again.floor.any)
    np.testing.assert_array_equal(one.samples.in_domain, again.samples.in_domain)
    assert (one.floor.any != other.floor.any).any()


def test_some_sites_may_be_left_out():
    found = measure(10, sites=["x1.post", "a0.0"])
    assert found.samples.any.shape == (2, 10)


def test_a_decoder_in_training_is_left_as_it_was():
    model = decoder()
    model.train()
    try:
        measure(5)
        assert model.training
        assert all(parameter.requires_grad for parameter in model.parameters())
    finally:
        model.eval()


def test_standard_errors():
    hits = np.array([[True] * 30 + [False] * 70, [True] * 100])
    assert share(hits[0]) == pytest.approx((0.3, (0.3 * 0.7 / 100) ** 0.5))
    assert share(hits[1]) == (1.0, 0.0)
    assert mean_share(hits) == pytest.approx((0.65, (0.3 * 0.7 / 100) ** 0.5 / 2))


@pytest.mark.parametrize("shared", [True, False])
def test_the_error_of_a_mean_over_sites_is_that_of_drawing_the_queries_again(shared):
    random = np.random.default_rng(0)
    hard = random.uniform(size=(1 if shared else 6, 400))
    hits = random.uniform(size=(6, 400)) < hard  # what is hit at one site is likelier to be hit at the others
    rows = random.integers(400, size=(4000, 1 if shared else 6, 400))
    again = np.take_along_axis(hits[None].repeat(4000, 0), np.broadcast_to(rows, (4000, 6, 400)), axis=2)
    assert mean_share(hits).rate == pytest.approx(hits.mean())
    assert mean_share(hits).se == pytest.approx(again.mean(axis=(1, 2)).std(), rel=0.1)
    alone = np.sqrt(sum(share(row).se ** 2 for row in hits)) / 6
    assert (mean_share(hits).se > 1.3 * alone) == shared


def test_what_sites_share_is_run_once_for_all_of_them(monkeypatch):
    runs = []
    real = probed().capture

    def counted(tokens, sites, positions=None, **options):
        runs.append((len(tokens), len(list(sites))))
        return real(tokens, sites, positions, **options)

    monkeypatch.setattr(probed(), "capture", counted)
    together = measure(20)
    assert runs == [(20, len(SITES)), *[(20, 1)] * len(SITES), (20, len(SITES))], "queries, samples, floor"
    monkeypatch.setattr(rates, "_shared", lambda rows, n: False)
    apart = measure(20)
    assert len(runs) == 1 + len(SITES) + 1 + 3 * len(SITES)
    for one, other in zip((*together.samples, *together.floor), (*apart.samples, *apart.floor), strict=True):
        np.testing.assert_array_equal(one, other)


def test_fewer_than_one_query_is_refused():
    with pytest.raises(UserError, match="n must be at least 1, not 0"):
        measure(0)
