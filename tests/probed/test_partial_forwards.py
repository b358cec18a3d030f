"""Logits at some positions, and after a prefix that was run before, against whole forwards."""

from __future__ import annotations

import pytest
import torch

from inversionview.errors import UserError
from inversionview.probed.model import Patch, ProbedModel
from tests.probed.tiny import MODELS, VOCAB, tiny

GENERATOR = torch.Generator().manual_seed(0)
TOKENS = torch.randint(1, VOCAB, (6, 9), generator=GENERATOR)
AT = torch.tensor([4, 5, 8, 4, 6, 7])


@pytest.fixture(scope="module", params=list(MODELS))
def probed(request):
    return ProbedModel(tiny(request.param))


@pytest.fixture(scope="module")
def gpt2():
    return ProbedModel(tiny("gpt2"), convention="tl")


def patches(probed: ProbedModel) -> list[Patch]:
    values = torch.randn(len(probed.sites), len(TOKENS), probed.d_model, generator=torch.Generator().manual_seed(1))
    return [Patch(site, AT, value) for site, value in zip(probed.sites[::2], values, strict=False)]


def close(actual: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(actual, expected, atol=5e-5, rtol=1e-4)


def test_logits_at_positions_are_those_of_the_whole(probed):
    whole = probed.logits(TOKENS, patches(probed))
    rows = torch.arange(len(TOKENS))
    close(probed.logits(TOKENS, patches(probed), positions=AT), whole[rows, AT])
    close(probed.logits(TOKENS, patches(probed), positions=3), whole[:, 3])
    two = torch.stack([AT, AT - 4], dim=1)
    found = probed.logits(TOKENS, patches(probed), positions=two)
    assert found.shape == (len(TOKENS), 2, VOCAB)
    close(found, whole[rows[:, None], two])


@pytest.mark.parametrize("length", [1, 4])
def test_after_a_prefix_logits_are_those_of_whole_inputs(probed, length):
    prefix = probed.prefix(TOKENS[:, :length])
    for changes in ([], patches(probed), []):  # the prefix outlasts its use, and a patch leaves nothing in it
        whole = probed.logits(TOKENS, changes)
        close(probed.logits(TOKENS, changes, prefix=prefix), whole[:, -(TOKENS.shape[1] - length) :])
        close(probed.logits(TOKENS, changes, prefix=prefix, positions=AT), whole[torch.arange(len(TOKENS)), AT])


def test_one_prefix_serves_many_inputs(probed):
    tokens = TOKENS.clone()
    tokens[:, :4] = tokens[0, :4]
    found = probed.logits(tokens, patches(probed), prefix=probed.prefix(tokens[:1, :4]), positions=8)
    close(found, probed.logits(tokens, patches(probed))[:, 8])


def test_a_model_without_a_cache_runs_the_whole(gpt2, monkeypatch):
    run = gpt2._parts.run

    def without(model, tokens, **options):
        output = run(model, tokens, **options)
        output.past_key_values = None
        return output

    monkeypatch.setattr(type(gpt2._parts), "run", lambda self, *args, **options: without(*args, **options))
    prefix = gpt2.prefix(TOKENS[:, :4])
    assert prefix.cache is None
    close(gpt2.logits(TOKENS, prefix=prefix, positions=AT), gpt2.logits(TOKENS, positions=AT))


def test_a_model_that_keeps_all_logits_gives_the_same(gpt2, monkeypatch):
    found = gpt2.logits(TOKENS, positions=AT)
    monkeypatch.setattr(gpt2, "_keeps_some", False)
    close(gpt2.logits(TOKENS, positions=AT), found)


def test_no_inputs_have_no_logits(gpt2):
    none = TOKENS[:0]
    assert gpt2.logits(none, prefix=gpt2.prefix(none[:, :2]), positions=AT[:0]).shape == (0, VOCAB)
    assert gpt2.logits(none, positions=torch.zeros(0, 3, dtype=torch.long)).shape == (0, 3, VOCAB)


@pytest.mark.parametrize(
    ("ask", "words"),
    [
        (lambda p: p.logits(TOKENS, positions=9), "position 9 is not in inputs of 9 tokens"),
        (lambda p: p.logits(TOKENS, positions=AT[:3]), "one for each of the 6 inputs"),
        (lambda p: p.logits(TOKENS, positions="last"), "must be integers"),
        (lambda p: p.logits(TOKENS, prefix=p.prefix(TOKENS[:3, :4])), "prefix is of 3 inputs, and there are 6"),
        (lambda p: p.logits(TOKENS, prefix=p.prefix(TOKENS)), "go on after it"),
        (lambda p: p.logits(TOKENS, prefix=p.prefix(TOKENS[:, 1:4])), "must begin with the tokens of the prefix"),
        (lambda p: p.logits(TOKENS, prefix=p.prefix(TOKENS[:, :4]), positions=3), "position 3 lies in the prefix"),
        (
            lambda p: p.logits(TOKENS, [Patch("x0.pre", 2, torch.zeros(16))], prefix=p.prefix(TOKENS[:, :4])),
            "position 2 lies in the prefix",
        ),
    ],
)
def test_what_does_not_fit_is_one_line(gpt2, ask, words):
    with pytest.raises(UserError, match=words) as raised:
        ask(gpt2)
    assert "\n" not in str(raised.value)
