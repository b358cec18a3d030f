"""Scores against teacher forcing, and against softmax written out."""

from __future__ import annotations

import pytest
import torch

from inversionview.decoder import scoring
from inversionview.decoder.sampling import sample
from inversionview.decoder.scoring import score
from tests.decoder.tiny import activations, inputs, tiny_decoder

BEGIN, END, PAD = 10, 13, 14


@pytest.fixture(scope="module")
def decoder():
    return tiny_decoder()


def one_activation(seed: int = 0):
    z, site = activations(1, seed)
    return z[0], int(site)


def drawn(decoder, n: int = 60, ordered: bool = True) -> torch.Tensor:
    """Rows that end at different lengths and begin alike."""
    z, site = activations(1, seed=5)
    tokens = sample(decoder, z, site, n, temperature=0.7, generator=torch.Generator().manual_seed(0)).tokens[0]
    return torch.unique(tokens, dim=0) if ordered else tokens


def forced(decoder, tokens: torch.Tensor, z: torch.Tensor, site: int) -> torch.Tensor:
    with torch.no_grad():
        return decoder.token_log_probs(tokens, z.expand(len(tokens), -1), torch.full((len(tokens),), site))


@pytest.mark.parametrize("ordered", [True, False])
def test_scores_are_those_of_teacher_forcing(decoder, ordered):
    tokens, (z, site) = drawn(decoder, ordered=ordered), one_activation()
    assert len({int((row == END).int().argmax()) for row in tokens}) > 2
    [found] = score(decoder, tokens, z, site)
    torch.testing.assert_close(found, forced(decoder, tokens, z, site), atol=1e-4, rtol=1e-4)


def test_inputs_that_share_nothing_are_scored_too(decoder):
    tokens, (z, site) = inputs(25), one_activation(1)
    [found] = score(decoder, tokens, z, site)
    torch.testing.assert_close(found, forced(decoder, tokens, z, site), atol=1e-4, rtol=1e-4)


def test_a_temperature_divides_the_logits_of_every_step(decoder):
    tokens, (z, site) = drawn(decoder)[:20], one_activation()
    temperatures = (2.0, 0.5, 1.0)
    with torch.no_grad():
        logits = decoder(tokens, z.expand(20, -1), torch.full((20,), site)).view(20, 14, -1).double()
    found = score(decoder, tokens, z, site, temperatures)
    assert found.shape == (3, 20, 14)
    for temperature, of in zip(temperatures, found, strict=True):
        share = (logits / temperature).exp()
        share = share / share.sum(-1, keepdim=True)
        for row, values in zip(range(20), of, strict=True):
            end = tokens[row].tolist().index(END) if END in tokens[row] else 13
            by_hand = [share[row, t, tokens[row, t + 1]].log().item() for t in range(end)]
            assert values[0] == 0, "begin is given"
            assert values[1 : end + 1].tolist() == pytest.approx(by_hand, abs=1e-4)
            assert (values[end + 1 :] == 0).all(), "padding costs nothing"


def test_every_string_has_a_share_and_all_shares_add_up_to_1():
    """A vocabulary of begin, end and two letters; after at most two letters the row must end to be whole."""
    decoder = tiny_decoder(vocab_size=4, max_length=4, begin=0, end=1, pad=2)
    z, site = one_activation()
    strings = [[0, *middle] for middle in _strings(3)]
    tokens = torch.tensor([row + [2] * (4 - len(row)) for row in strings])
    for total in score(decoder, tokens, z, site, (0.5, 1.0, 3.0)).double().sum(dim=2).exp().sum(dim=1):
        assert total.item() == pytest.approx(1, abs=1e-5)


def _strings(room: int) -> list[list[int]]:
    """All that may follow begin: anything up to the first end, or until there is no more room."""
    if room == 0:
        return [[]]
    return [[1], *([token, *rest] for token in (0, 2, 3) for rest in _strings(room - 1))]


def test_blocks_change_nothing(decoder, monkeypatch):
    tokens, (z, site) = drawn(decoder), one_activation()
    whole = score(decoder, tokens, z, site, (1.0, 2.0))
    monkeypatch.setattr(scoring, "_BLOCK", 7)
    torch.testing.assert_close(score(decoder, tokens, z, site, (1.0, 2.0)), whole, atol=1e-5, rtol=1e-5)


def test_the_activation_and_its_site_count(decoder):
    tokens, (z, site) = drawn(decoder), one_activation()
    known = score(decoder, tokens, z, site)
    assert (score(decoder, tokens, z + 1, site) - known).abs().max() > 0.01
    assert (score(decoder, tokens, z, (site + 1) % 3) - known).abs().max() > 0.01


def test_no_inputs_have_no_scores(decoder):
    z, site = one_activation()
    assert score(decoder, inputs(3)[:0], z, site, (1.0, 2.0)).shape == (2, 0, 14)
