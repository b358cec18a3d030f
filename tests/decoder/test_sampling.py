"""Samples come from the density that is reported for them."""

import pytest
import torch

from inversionview.decoder import sampling
from inversionview.decoder.sampling import at_cosine, sample
from inversionview.decoder.scoring import score
from tests.decoder.tiny import activations, tiny_decoder


def generator(seed):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def decoder():
    return tiny_decoder()


def test_log_prob_is_that_of_teacher_forcing(decoder):
    z, site = activations(4)
    drawn = sample(decoder, z, site, 30, temperature=1.7, generator=generator(0))
    with torch.no_grad():
        forced = decoder.log_prob(drawn.tokens.flatten(0, 1), z.repeat_interleave(30, 0), site.repeat_interleave(30))
    torch.testing.assert_close(drawn.log_prob.flatten(), forced, rtol=1e-4, atol=1e-4)


def test_tokens_are_scored_while_they_are_drawn_as_they_would_be_afterwards(decoder):
    (z, site), temperatures = activations(4), (1.0, 0.6)
    drawn = sample(decoder, z, site, 30, temperature=1.7, scored=temperatures, generator=generator(0))
    plain = sample(decoder, z, site, 30, temperature=1.7, generator=generator(0))
    assert torch.equal(drawn.tokens, plain.tokens)
    assert torch.equal(drawn.log_prob, plain.log_prob)
    assert plain.token_log_probs is None
    assert drawn.token_log_probs.shape == (4, 30, 14, 2)
    for i, (tokens, scores) in enumerate(zip(drawn.tokens, drawn.token_log_probs, strict=True)):
        expected = score(decoder, tokens, z[i], int(site[i]), temperatures)
        torch.testing.assert_close(scores, expected.permute(1, 2, 0), rtol=1e-4, atol=1e-4)


def test_draws_of_other_activations_are_not_scored_by_the_way(decoder):
    z, site = activations(2)
    drawn = sample(decoder, z, site, 10, noise=0.3, scored=(1.0,), generator=generator(0))
    assert drawn.token_log_probs is None


def test_rows_are_begun_ended_and_padded(decoder):
    z, site = activations(4)
    rows = sample(decoder, z, site, 50, generator=generator(1)).tokens.flatten(0, 1)
    assert (rows[:, 0] == 10).all()
    after = ((rows == 13).cumsum(1) - (rows == 13).long()) > 0
    assert after.any()
    assert (rows[after] == 14).all()


def test_same_seed_same_samples(decoder):
    z, site = activations(3)
    first, again, other = (sample(decoder, z, site, 20, generator=generator(s)).tokens for s in (5, 5, 6))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("noise", [0.0, 0.3])
def test_a_query_alone_is_sampled_as_among_others(decoder, noise):
    z, site = activations(4)
    many = sample(decoder, z, site, 25, noise=noise, generator=[generator(s) for s in range(4)])
    alone = sample(decoder, z[2:3], site[2:3], 25, noise=noise, generator=[generator(2)])
    assert torch.equal(many.tokens[2], alone.tokens[0])
    torch.testing.assert_close(many.log_prob[2], alone.log_prob[0])


def test_chunks_do_not_change_the_result(decoder, monkeypatch):
    z, site = activations(5)
    whole = sample(decoder, z, site, 8, noise=0.1, generator=generator(3))
    monkeypatch.setattr(sampling, "MAX_ROWS", 16)
    torch.testing.assert_close(sample(decoder, z, site, 8, noise=0.1, generator=generator(3)), whole)
    monkeypatch.setattr(sampling, "MAX_ROWS", 3)  # fewer than the draws of one query
    torch.testing.assert_close(sample(decoder, z, site, 8, noise=0.1, generator=generator(3)), whole)


def test_frequencies_follow_the_density():
    """Against the exact distribution over all strings of a three-token vocabulary: a chi-squared test at 1e-4."""
    decoder = tiny_decoder(vocab_size=3, max_length=4, begin=0, end=1, pad=2)
    z, site = activations(1)
    n = 20_000
    drawn = sample(decoder, z, site, n, generator=generator(0))
    strings, inverse, counts = torch.unique(drawn.tokens[0], dim=0, return_inverse=True, return_counts=True)
    with torch.no_grad():
        expected = n * decoder.log_prob(strings, z.expand(len(strings), -1), site.expand(len(strings))).exp()
    common = expected > 5
    statistic = ((counts - expected)[common] ** 2 / expected[common]).sum()
    freedom = int(common.sum())
    assert freedom >= 5
    assert statistic < freedom + 4 * (2 * freedom) ** 0.5
    assert inverse.shape == (n,)


def test_low_temperature_takes_the_likeliest_token(decoder):
    z, site = activations(2)
    rows = sample(decoder, z, site, 4, temperature=1e-4, generator=generator(0)).tokens
    assert (rows == rows[:, :1]).all()


def test_noise_widens_what_is_drawn_and_reports_the_clean_density(decoder):
    z, site = activations(1)
    noisy = sample(decoder, z, site, 40, noise=2.0, generator=generator(0))
    with torch.no_grad():
        clean = decoder.log_prob(noisy.tokens[0], z.expand(40, -1), site.expand(40))
    torch.testing.assert_close(noisy.log_prob[0], clean, rtol=1e-4, atol=1e-4)
    assert not torch.equal(noisy.tokens, sample(decoder, z, site, 40, generator=generator(0)).tokens)


def plain_draw(decoder, z, site, uniforms, temperature):
    """One row, token by token, a whole forward each; None where a uniform number is within rounding of a boundary."""
    row, log_prob = [10], 0.0
    for u in uniforms.tolist():
        with torch.no_grad():
            logits = decoder(torch.tensor([row]), z[None], site[None])[-1].double()
        cumulative = (logits / temperature).softmax(0).cumsum(0)
        if (cumulative - u).abs().min() < 1e-5:
            return None
        row.append(next(token for token, upto in enumerate(cumulative.tolist()) if upto >= u))
        log_prob += logits.log_softmax(0)[row[-1]].item()
        if row[-1] == 13:
            break
    return row + [14] * (14 - len(row)), log_prob


@pytest.mark.parametrize("temperature", [0.6, 1.5])
def test_draws_run_as_branches_are_those_of_one_row_at_a_time(decoder, temperature):
    z, site = activations(3, seed=2)
    generators = [generator(s) for s in (7, 8, 9)]
    drawn = sample(decoder, z, site, 15, temperature=temperature, generator=generators)
    compared = 0
    for query in range(3):
        uniforms = torch.rand(15, 13, generator=generator(7 + query))
        for i in range(15):
            plain = plain_draw(decoder, z[query], site[query], uniforms[i], temperature)
            if plain is not None:
                assert drawn.tokens[query, i].tolist() == plain[0]
                assert drawn.log_prob[query, i].item() == pytest.approx(plain[1], abs=1e-3)
                compared += 1
    assert compared > 40
    assert len(torch.unique(drawn.tokens.flatten(0, 1)[:, :2], dim=0)) < 25, "many begin alike"


def test_draws_that_begin_alike_are_run_once(decoder, monkeypatch):
    z, site = activations(2)
    ran = []
    step = type(decoder).step
    monkeypatch.setattr(
        type(decoder), "step", lambda self, token, *rest: ran.append(len(token)) or step(self, token, *rest)
    )
    tokens = sample(decoder, z, site, 200, temperature=0.5, generator=[generator(0), generator(1)]).tokens
    for position, rows in enumerate(ran):
        assert rows == sum(len(torch.unique(of_query[:, : position + 1], dim=0)) for of_query in tokens)


@pytest.mark.parametrize("cosine", [0.99, 0.75, 0.2])
def test_activations_at_a_cosine_are_there_with_norms_that_are_uniform_in_the_logarithm(cosine):
    z = 37 * torch.randn(24, generator=generator(0))
    moved = at_cosine(z, cosine, 4000, generator(1))
    assert moved.dtype == z.dtype
    found = torch.nn.functional.cosine_similarity(moved.double(), z.double()[None])
    assert (found - cosine).abs().max() < 1e-5
    logs = (moved.norm(dim=1) / z.norm()).log().sort().values
    uniform = torch.linspace(-1, 1, 4000)
    assert logs.abs().max() <= 1 + 1e-5
    assert (logs - uniform).abs().max() < 2 * 1.95 / 4000**0.5, "Kolmogorov and Smirnov at 1e-3"


def test_directions_at_a_cosine_are_alike_in_all_dimensions_and_apart_from_the_norms():
    z = torch.zeros(6)
    z[0] = 2.0
    moved = at_cosine(z, 0.6, 20_000, generator(2))
    across = moved[:, 1:] / moved.norm(dim=1, keepdim=True) / 0.8
    assert across.mean(dim=0).abs().max() < 0.02
    torch.testing.assert_close(across.T @ across / 20_000, torch.eye(5) / 5, atol=0.01, rtol=0)
    with_norm = torch.corrcoef(torch.cat([across, moved.norm(dim=1, keepdim=True)], dim=1).T)[-1, :-1]
    assert with_norm.abs().max() < 0.03


def test_draws_at_a_cosine_are_those_of_other_activations_and_report_the_density_of_the_querys(decoder):
    z, site = activations(3)
    options = {"cosine": 0.8, "generator": [generator(s) for s in range(3)]}
    drawn = sample(decoder, z, site, 25, **options)
    alone = sample(decoder, z[1:2], site[1:2], 25, cosine=0.8, generator=[generator(1)])
    assert torch.equal(drawn.tokens[1], alone.tokens[0])
    stream = generator(1)
    torch.rand(25, 13, generator=stream)
    moved = at_cosine(z[1], 0.8, 25, stream)
    for i in range(25):  # each is what its own activation gives for the same uniform numbers
        uniforms = torch.rand(25, 13, generator=generator(1))[i]
        plain = plain_draw(decoder, moved[i], site[1], uniforms, 1.0)
        assert plain is None or plain[0] == drawn.tokens[1, i].tolist()
    with torch.no_grad():
        clean = decoder.log_prob(drawn.tokens[1], z[1].expand(25, -1), site[1].expand(25))
    torch.testing.assert_close(drawn.log_prob[1], clean, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("cosine", [None, 0.9])
def test_a_bias_leans_on_its_own_query_and_leaves_the_reported_density(decoder, cosine):
    z, site = activations(2)
    bias = torch.zeros(2, 15)
    bias[1, 3] = -torch.inf
    free, leaning = (
        sample(decoder, z, site, 60, cosine=cosine, bias=b, generator=[generator(4), generator(5)])
        for b in (None, bias)
    )
    assert torch.equal(free.tokens[0], leaning.tokens[0])
    assert (free.tokens[1] == 3).any()
    assert not (leaning.tokens[1] == 3).any()
    with torch.no_grad():
        clean = decoder.log_prob(leaning.tokens[1], z[1].expand(60, -1), site[1].expand(60))
    torch.testing.assert_close(leaning.log_prob[1], clean, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("options", [{"noise": 0.3}, {"cosine": 0.8}, {"cosine": 0.8, "noise": 0.3}])
def test_a_narrow_site_is_sampled_as_if_no_site_were_wider(options):
    decoder = tiny_decoder(widths=(5, 8, 8))
    z, site = activations(2)[0], torch.tensor([0, 1])
    many = sample(decoder, z, site, 25, generator=[generator(0), generator(1)], **options)
    alone = sample(decoder, z[:1, :5], site[:1], 25, generator=[generator(0)], **options)
    assert torch.equal(many.tokens[0], alone.tokens[0])
