"""A decoder that only draws inputs of its task, and still knows how probable each of them is."""

from __future__ import annotations

import pytest
import torch

from inversionview.decoder.model import Decoder, own_decoder
from inversionview.decoder.sampling import sample
from inversionview.decoder.scoring import score
from inversionview.errors import UserError
from inversionview.tasks.counting.orders import CountingOrders
from tests.decoder.constrained import TASK, config


@pytest.fixture(scope="module")
def decoder() -> Decoder:
    torch.manual_seed(0)
    made = own_decoder(config())
    made.constrain(TASK)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return made.eval()


@pytest.fixture(scope="module")
def z() -> torch.Tensor:
    return torch.randn(4, 8, generator=torch.Generator().manual_seed(1))


SITE = torch.tensor([0, 1, 0, 1])


@pytest.mark.parametrize("noise", [0.0, 0.3])
def test_every_draw_is_an_input_of_the_task(decoder, z, noise):
    drawn = sample(decoder, z, SITE, 50, temperature=2.0, noise=noise, generator=torch.Generator().manual_seed(2))
    rows = drawn.tokens.flatten(0, 1)
    assert TASK.contains(rows).all()
    assert len(torch.unique(rows, dim=0)) > 150
    assert drawn.log_prob.isfinite().all()


def test_sampling_forward_and_scoring_agree_on_how_probable_a_draw_is(decoder, z):
    drawn = sample(decoder, z, SITE, 30, generator=torch.Generator().manual_seed(3))
    rows = drawn.tokens.flatten(0, 1)
    forced = decoder.log_prob(rows, z.repeat_interleave(30, 0), SITE.repeat_interleave(30))
    torch.testing.assert_close(forced.detach(), drawn.log_prob.flatten(), atol=1e-3, rtol=1e-4)
    scores = score(decoder, drawn.tokens[1], z[1], 1, [1.0, 2.0])
    torch.testing.assert_close(scores[0].sum(dim=1), drawn.log_prob[1], atol=1e-3, rtol=1e-4)
    assert (scores[1].sum(dim=1) != scores[0].sum(dim=1)).all()


def test_what_the_task_determines_is_certain(decoder, z):
    tokens = TASK.sample(20, generator=torch.Generator().manual_seed(4))
    log_probs = decoder.token_log_probs(tokens, z[:1].expand(20, -1), SITE[:1].expand(20))
    bar = (tokens == 35).long().argmax(dim=1)
    rows = torch.arange(20)
    for after in (2, 3, 4):  # the colon, the count, the end
        assert (log_probs[rows, bar + after] == 0).all()
    assert (log_probs[rows, bar + 1] < 0).all()


def test_an_input_outside_the_domain_has_no_probability(decoder, z):
    wrong = TASK.encode("abcab|a:2")[None].clone()
    wrong[0, -2] += 1  # a wrong count
    assert decoder.log_prob(wrong, z[:1], SITE[:1]).item() == -torch.inf


def test_only_a_task_that_says_what_comes_next_can_constrain():
    task = CountingOrders(TASK, TASK.encode("abcab|a:2"))
    with pytest.raises(UserError, match="counting does not say which tokens can come next"):
        own_decoder(config()).constrain(task)
