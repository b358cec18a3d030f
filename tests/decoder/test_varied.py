"""Samples that hold back what earlier ones repeated."""

from __future__ import annotations

import torch

from inversionview.decoder.sampling import ROUND, common_tokens, holders, sample, sample_varied
from inversionview.tasks import get_task
from tests.decoder.tiny import activations, tiny_decoder

NONE = torch.zeros(15, dtype=torch.bool)
NONE[[10, 13, 14]] = True


def generators(n, first=0):
    return [torch.Generator().manual_seed(first + s) for s in range(n)]


def share_of(tokens, token):
    return (tokens == token).any(dim=-1).float().mean(dim=-1)


def test_a_token_counts_once_an_input_and_not_behind_the_end():
    rows = torch.tensor([[10, 5, 5, 13, 14], [10, 5, 6, 6, 13], [10, 1, 13, 6, 6]])
    assert holders(rows, 13, 15).tolist() == [0, 1, 0, 0, 0, 2, 1, 0, 0, 0, 3, 0, 0, 3, 0]


def test_what_is_repeated_is_held_back_and_common_words_are_not():
    decoder = tiny_decoder()
    z, site = activations(4)
    n = 640
    plain = sample(decoder, z, site, n, generator=generators(4)).tokens
    free = torch.stack([holders(rows, 13, 15) for rows in plain]) / n
    often = free[:, :10].argmax(dim=1)
    held = sample_varied(decoder, z, site, n, common=NONE, generator=generators(4)).tokens
    for query in range(4):
        token = int(often[query])
        assert share_of(plain[query], token) > 0.35
        assert share_of(held[query], token) < 0.6 * share_of(plain[query], token)
        common = NONE.clone()
        common[token] = True
        kept = sample_varied(
            decoder, z[query : query + 1], site[query : query + 1], n, common=common, generator=generators(1, query)
        ).tokens[0]
        assert share_of(kept, token) > 0.8 * share_of(plain[query], token)


def test_with_every_token_common_it_is_plain_sampling_in_rounds():
    decoder = tiny_decoder()
    z, site = activations(2)
    everything = torch.ones(15, dtype=torch.bool)
    found = sample_varied(decoder, z, site, 2 * ROUND, common=everything, generator=generators(2))
    streams = generators(2)
    plain = [sample(decoder, z, site, ROUND, generator=streams) for _ in range(2)]
    assert torch.equal(found.tokens, torch.cat([one.tokens for one in plain], dim=1))
    torch.testing.assert_close(found.log_prob, torch.cat([one.log_prob for one in plain], dim=1))


def test_the_first_round_is_free_and_a_query_alone_is_sampled_as_among_others():
    decoder = tiny_decoder()
    z, site = activations(3)
    many = sample_varied(decoder, z, site, 100, common=NONE, cosines=(0.9, 0.8), generator=generators(3))
    alone = sample_varied(decoder, z[2:], site[2:], 100, common=NONE, cosines=(0.9, 0.8), generator=generators(1, 2))
    assert torch.equal(many.tokens[2], alone.tokens[0])
    free = sample(decoder, z, site, ROUND, cosine=0.9, generator=generators(3))
    assert torch.equal(many.tokens[:, :ROUND], free.tokens)
    again = sample_varied(decoder, z, site, 100, common=NONE, cosines=(0.9, 0.8), generator=generators(3))
    assert torch.equal(many.tokens, again.tokens)


def test_digits_are_common_words_of_sums():
    decoder = tiny_decoder(task="addition")
    common = common_tokens(decoder, get_task("addition"))
    assert common.tolist() == [True] * 15


def test_a_token_is_common_from_one_input_in_twenty():
    class Task:
        def sample(self, n, *, generator, split):
            rows = torch.full((n, 14), 14)
            rows[:, 0], rows[:, 2] = 10, 13
            rows[:, 1] = torch.where(torch.arange(n) < n // 20, 4, torch.where(torch.arange(n) < n // 10 - 1, 5, 6))
            return rows

    common = common_tokens(tiny_decoder(), Task())
    assert common.nonzero()[:, 0].tolist() == [4, 6, 10, 13, 14]
