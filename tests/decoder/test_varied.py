"""Samples that hold back what earlier ones repeated: in our way, and in the paper's."""

from __future__ import annotations

import torch

from inversionview.decoder.sampling import (
    ROUND,
    UNREPEATED_ROUND,
    common_tokens,
    holders,
    sample,
    sample_unrepeated,
    sample_varied,
)
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


def test_a_token_that_a_position_had_more_than_five_times_never_stands_there_again():
    decoder, n = tiny_decoder(), 8 * UNREPEATED_ROUND
    z, site = activations(3)
    spared = NONE.clone()
    spared[4] = True
    found = sample_unrepeated(decoder, z, site, n, frequent=spared, generator=generators(3)).tokens
    barred = 0
    for rows in found:
        for start in range(UNREPEATED_ROUND, n, UNREPEATED_ROUND):
            for position in range(1, 3):  # while some token may still stand there, before all of ten are barred
                counts = torch.bincount(rows[:start, position], minlength=15)
                often = (counts > 5) & ~spared
                if often[:10].sum() == 9:
                    continue
                now = rows[start : start + UNREPEATED_ROUND, position]
                assert not often[now].any()
                barred += int(often.sum())
    assert barred > 20
    assert (found[:, UNREPEATED_ROUND:, 1] == 4).any()


@torch.no_grad()
def test_it_is_as_if_what_is_barred_had_no_probability():
    """The second round, against sampling with logits that are masked by hand."""
    decoder = tiny_decoder()
    z, site = activations(1)
    found = sample_unrepeated(decoder, z, site, 2 * UNREPEATED_ROUND, frequent=NONE, generator=generators(1)).tokens[0]
    first, second = found.split(UNREPEATED_ROUND)
    counts = torch.stack([torch.bincount(column, minlength=15) for column in first.T])
    stream = generators(1)
    assert torch.equal(sample(decoder, z, site, UNREPEATED_ROUND, generator=stream).tokens[0], first)
    uniforms = torch.rand(UNREPEATED_ROUND, 13, generator=stream[0])
    for row, numbers in zip(second, uniforms, strict=True):
        cache = decoder.start_cache(z, site)
        for position in range(13):
            if row[position] == 13:
                break
            logits = decoder.step(row[None, : position + 1], cache)[0]
            left = logits.masked_fill((counts[position + 1] > 5) & ~NONE, -torch.inf)
            chances = left.softmax(-1).double().cumsum(-1)
            assert int(row[position + 1]) == int((chances <= numbers[position] * chances[-1]).sum())


def test_the_first_round_is_plain_and_a_query_alone_is_drawn_as_among_others(monkeypatch):
    decoder = tiny_decoder()
    z, site = activations(3)
    options = {"frequent": NONE, "cosines": (0.75, 0.9)}
    many = sample_unrepeated(decoder, z, site, 150, **options, generator=generators(3))
    plain = sample(decoder, z, site, UNREPEATED_ROUND, cosine=0.75, generator=generators(3))
    assert torch.equal(many.tokens[:, :UNREPEATED_ROUND], plain.tokens)
    monkeypatch.setattr("inversionview.decoder.sampling._COUNTED_VALUES", 1)
    assert torch.equal(sample_unrepeated(decoder, z, site, 150, **options, generator=generators(3)).tokens, many.tokens)
    alone = sample_unrepeated(decoder, z[2:], site[2:], 150, **options, generator=generators(1, 2))
    assert torch.equal(alone.tokens[0], many.tokens[2])
    everything = torch.ones(15, dtype=torch.bool)
    free = sample_unrepeated(decoder, z, site, 150, frequent=everything, generator=generators(3))
    assert not torch.equal(free.tokens, many.tokens)


def test_where_all_that_can_follow_is_barred_nothing_is():
    nothing = torch.zeros(15, dtype=torch.bool)
    z, site = activations(1)
    found = sample_unrepeated(tiny_decoder(), z, site, 600, frequent=nothing, generator=generators(1))
    assert found.log_prob.isfinite().all()
    assert ((found.tokens >= 0) & (found.tokens < 15)).all()
