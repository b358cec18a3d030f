"""Which activations are read: anywhere, or where the heads attend."""

from __future__ import annotations

import pytest
import torch

from inversionview.criterion import Criterion
from inversionview.decoder.places import Anywhere, Attended, Reads, make_places
from inversionview.decoder.training import DecoderObjective, DecoderTrainingConfig, make_decoder
from inversionview.errors import UserError
from inversionview.preimage.estimates.rates import in_epsilon
from inversionview.probed.coordinates import Coordinates
from inversionview.probed.model import ProbedModel
from inversionview.sites import Site
from inversionview.tasks import get_task
from inversionview.tasks.facts.task import FactsTask
from inversionview.tasks.vocabulary import Vocabulary
from tests.preimage.tiny import probed as of_addition
from tests.studies.text_models import random_model
from tests.tasks.facts.tiny import small_table
from tests.tokenizers import byte_tokenizer

HEADS = tuple(Site.parse(name) for name in ("a0.0", "a0.1", "a1.0", "a1.1"))
STREAM = Site.parse("x0.post")


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def probed():
    """One whose heads look at the begin token in some inputs and not in others."""
    model = random_model("gpt2")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for parameter in model.parameters():
            parameter.data.add_(0.6 * torch.randn_like(parameter))
    return ProbedModel(model, byte_tokenizer())


@pytest.fixture(scope="module")
def task(probed):
    return FactsTask(Vocabulary(probed.tokenizer), small_table())


def to_begin(probed, reads, sites):
    """How much the head of each instance looks at begin from where it is read, and the least it does; 0 for no head."""
    patterns = [probed.attention(reads.tokens, layer)[..., 0] for layer in range(2)]
    here, least = [], []
    for row, (position, index) in enumerate(zip(reads.positions.tolist(), reads.site_index.tolist(), strict=True)):
        site = sites[index]
        looks = patterns[site.layer][row, site.head]
        inside = looks[1 : int((reads.tokens[row, 1:] == reads.tokens[row, 0]).nonzero()[0]) + 1]
        here.append(float(looks[position]))
        least.append(float(inside.min()))
    return torch.tensor(here), torch.tensor(least)


def drawn(places, n, weights):
    """Instances of some training inputs, as the pool of a training asks for them."""
    tokens = places.task.sample(400, generator=generator(), split="train")
    chosen = places.draw(tokens, places.table(tokens, generator(1)), n, weights, generator(2))
    return Reads(tokens[chosen.rows], chosen.positions, chosen.site_index)


def test_training_is_half_at_end_and_half_where_the_head_looks_least_at_begin(probed, task):
    reads = drawn(Attended(probed, task, HEADS), 600, torch.ones(4, task.max_length))
    here, least = to_begin(probed, reads, HEADS)
    assert (here < 0.6).all()
    ends = task.position_of(reads.tokens, "END")
    at_end, at_least = reads.positions == ends, (here - least).abs() < 1e-6
    assert (at_end | at_least).all()
    some = [(at_end & (reads.site_index == i)).sum() for i in range(4)]
    assert all(count > 20 for count in some), some
    assert 0.4 < (at_end & ~at_least).sum() / (at_end ^ at_least).sum() < 0.6
    assert not task.is_held_out(reads.tokens).any()


def test_weights_say_how_often_a_site_is_read_and_begin_has_its_share(probed, task):
    weights = torch.tensor([3.0, 1.0, 0.0, 1.0])[:, None].expand(4, task.max_length)
    reads = drawn(Attended(probed, task, HEADS, begin_share=0.2), 1000, weights)
    counts = torch.bincount(reads.site_index, minlength=4)
    assert counts[2] == 0
    assert 0.5 < counts[0] / 1000 < 0.7
    assert 0.15 < (reads.positions == 0).float().mean() < 0.25


def test_a_measurement_is_of_so_many_of_each_site_the_first_half_at_end(probed, task):
    places = Attended(probed, task, HEADS)
    reads = places.at(HEADS[::-1], 31, generator(), "held-out")
    here, least = to_begin(probed, reads, HEADS[::-1])
    assert reads.site_index.tolist() == [i for i in range(4) for _ in range(31)]
    assert (here < 0.6).all()
    ends = task.position_of(reads.tokens, "END")
    for part in range(4):
        assert (reads.positions[31 * part : 31 * part + 16] == ends[31 * part : 31 * part + 16]).all()
        rest = slice(31 * part + 16, 31 * (part + 1))
        torch.testing.assert_close(here[rest], least[rest])
    assert task.is_held_out(reads.tokens).all()
    again = places.at(HEADS[::-1], 31, generator(), "held-out")
    assert torch.equal(again.tokens, reads.tokens)
    assert torch.equal(again.positions, reads.positions)


def test_what_is_no_head_is_read_at_end_and_anywhere(probed, task):
    reads = drawn(Attended(probed, task, (STREAM,)), 400, torch.ones(1, task.max_length))
    ends = task.position_of(reads.tokens, "END")
    assert 0.5 < (reads.positions == ends).float().mean() < 0.75
    assert task.eligible(reads.tokens).gather(1, reads.positions[:, None]).all()
    assert len(torch.unique(reads.positions)) > 5


def resting(model):
    """Let the heads of the first layer look at the first token alone: one direction of it is all that they ask for."""
    attention = model.transformer.h[0].attn.c_attn
    with torch.no_grad():
        attention.weight.zero_()
        attention.bias.zero_()
        attention.bias[:8] = 1.0
        model.transformer.wpe.weight[0] = 30 * torch.tensor([1.0, -1, 1, -1, 1, -1, 1, -1])
        attention.weight[:, 8:16] = 9 * torch.tensor([1.0, -1, 1, -1, 1, -1, 1, -1])[:, None].expand(8, 8)
    return model


def test_a_head_that_rests_is_left_out_and_alone_it_is_an_error(task, probed):
    model = ProbedModel(resting(random_model("gpt2")), probed.tokenizer)
    looks = model.attention_to(task.sample(50, generator=generator()), HEADS)
    assert looks[HEADS[0]].min() > 0.9
    assert looks[HEADS[2]][:, 5:].min() < 0.5
    reads = drawn(Attended(model, task, HEADS), 200, torch.ones(4, task.max_length))
    assert set(reads.site_index.tolist()) == {2, 3}
    for ask in (
        lambda: drawn(Attended(model, task, HEADS[:2]), 20, torch.ones(2, task.max_length)),
        lambda: Attended(model, task, HEADS).at(HEADS[:2], 20, generator(), "all"),
    ):
        with pytest.raises(UserError, match=r"looks at the begin token by 0\.6 or more in nearly all inputs"):
            ask()


def test_the_decoder_is_trained_normalised_and_measured_there(probed, task):
    places = Attended(probed, task, HEADS)
    decoder = make_decoder(
        probed, task, HEADS, n_statistics=8, places=places, d_model=16, n_heads=2, trunk_blocks=1, trunk_width=16
    )
    reads = places.at(HEADS, 256, generator(), "train")
    z = probed.capture(reads.tokens[256:512], ["z0.1"], reads.positions[256:512])[Site.parse("z0.1")]
    coordinates = Coordinates(probed).of_source(Site.parse("a0.1"), z)
    torch.testing.assert_close(decoder.trunk.mean[1], coordinates.mean(dim=0))
    config = DecoderTrainingConfig(begin_share=0.0)
    objective = DecoderObjective(decoder, probed, task, config, read="attended")
    batch = objective.batch(0, size=64)
    ends = task.position_of(batch.tokens, "END")
    assert (ends > 0).all()
    halves = [objective.batch(2, size=64, rank=rank, world=2) for rank in range(2)]
    whole = objective.batch(2, size=64)
    assert sorted(map(tuple, torch.cat([h.tokens for h in halves]).tolist())) == sorted(
        map(tuple, whole.tokens.tolist())
    )
    found = in_epsilon(decoder, probed, task, 12, criterion=Criterion.parse(0.5), generator=generator(3), places=places)
    wanted = places.at(HEADS, 12, generator(3), "held-out")
    assert found.positions.tolist() == wanted.positions.view(4, 12).tolist()


def test_anywhere_is_every_eligible_position(task):
    reads = drawn(Anywhere(task), 3000, torch.ones(2, task.max_length))
    seen = torch.bincount(reads.positions, minlength=task.max_length)
    eligible = task.eligible(reads.tokens)
    expected = (eligible / eligible.sum(dim=1, keepdim=True)).sum(dim=0)
    assert ((seen - expected).abs() < 5 * expected.sqrt() + 1e-6).all()


def test_other_names_and_tasks_without_an_end_are_refused():
    task = get_task("addition")
    with pytest.raises(UserError, match="no way 'nowhere' to choose what is read: there are anywhere and attended"):
        make_places("nowhere", of_addition(), task, [STREAM])
    with pytest.raises(UserError, match="inputs of addition have no position END"):
        make_places("attended", of_addition(), task, [STREAM])
