"""What the decoder is trained on."""

import dataclasses
import json
import os
import subprocess
import sys

import pytest
import torch

from inversionview.bank.passes import read_vectors
from inversionview.decoder import loss as in_parts
from inversionview.decoder.training import (
    Batch,
    CellHits,
    DecoderObjective,
    DecoderTrainingConfig,
    cell_weights,
    make_decoder,
)
from inversionview.sites import Site
from inversionview.tasks.positions import draw_positions
from inversionview.training import TrainingConfig, train
from tests.decoder.train_tiny import KINDS, run
from tests.paths import ROOT
from tests.preimage.tiny import SITES, probed, task
from tests.studies.text_models import random_model


def objective(rates=None, full_steps=0, **changes):
    sites = [Site.parse(name) for name in SITES]
    module = make_decoder(probed(), task(), sites, n_statistics=512, d_model=16, n_heads=2, trunk_width=16)
    return DecoderObjective(
        module, probed(), task(), DecoderTrainingConfig(full_steps=full_steps, **changes), rates=rates
    )


def as_set(batch: Batch):
    rows = zip(batch.tokens, batch.read, batch.site_index, batch.lengths, strict=True)
    return sorted((t.tolist(), [round(v, 4) for v in z.tolist()], s.item(), n.item()) for t, z, s, n in rows)


def test_a_batch_depends_on_seed_and_step_alone():
    made = objective()
    first, again, next_step = (made.batch(step, size=32) for step in (3, 3, 4))
    assert as_set(first) == as_set(again)
    assert as_set(first) != as_set(next_step)
    assert as_set(first) != as_set(objective(seed=1).batch(3, size=32))


def test_ranks_share_the_global_batch():
    made = objective()
    parts = [made.batch(7, size=32, rank=rank, world=4) for rank in range(4)]
    assert [len(part.tokens) for part in parts] == [8] * 4
    shared, whole = sorted(row for part in parts for row in as_set(part)), as_set(made.batch(7, size=32))
    assert [(t, s, n) for t, _, s, n in shared] == [(t, s, n) for t, _, s, n in whole]
    # Not to the last bit: how many tokens are run beside an input depends on the others in its part.
    found, expected = (torch.tensor([z for _, z, _, _ in rows]) for rows in (shared, whole))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=2e-4)


def test_only_training_inputs_are_used():
    made = objective()
    tokens = torch.cat([made.batch(step, size=100).tokens for step in range(5)])
    assert not task().is_held_out(tokens).any()


def test_activations_are_those_of_the_input_at_its_length():
    batch = objective(full_share=0.0, begin_share=0.0).batch(0, size=64)
    captured = probed().capture(batch.tokens, list(SITES))
    stacked = torch.stack([captured[Site.parse(name)] for name in SITES])
    made = objective(full_share=0.0, begin_share=0.0)
    activations = stacked[batch.site_index, torch.arange(64), batch.lengths]  # cut where the activation comes from
    torch.testing.assert_close(batch.read, made.module.coordinates(activations, batch.site_index))


def test_begin_and_full_shares():
    batch = objective(begin_share=1.0).batch(0, size=32)
    ends = (batch.tokens == 13).long().argmax(dim=1)
    assert torch.equal(batch.lengths, ends)
    assert len(torch.unique(batch.read[batch.site_index == 1].round(decimals=4), dim=0)) == 1
    lengths = torch.cat([objective(full_share=0.5).batch(step, size=200).lengths for step in range(5)])
    assert 0.45 < (lengths >= 12).float().mean() < 0.70  # half, and some that stop at the last digit


def test_the_first_steps_train_every_input_to_its_end():
    made = objective(full_steps=3, full_share=0.0)
    for step, all_full in ((2, True), (3, False)):
        batch = made.batch(step, size=64)
        ends = (batch.tokens == 13).long().argmax(dim=1)
        assert torch.equal(batch.lengths, ends) is all_full


@pytest.mark.parametrize("groups", [1, 5])
def test_the_loss_is_the_mean_log_probability_of_the_tokens_that_count(groups):
    made = objective(groups=groups)
    batch = made.batch(0, size=40)
    with torch.no_grad():
        log_probs = made.module.own_log_probs(batch.tokens, batch.read, batch.site_index)
    counted = torch.arange(14) <= batch.lengths[:, None]
    expected = -(log_probs * counted).sum(dim=1).mean()
    torch.testing.assert_close(made.loss(made.module, batch).detach(), expected)


def test_what_follows_by_itself_is_not_trained_and_the_loss_is_that_of_whole_inputs():
    sites = [Site.parse(name) for name in SITES]
    sizes = {"n_statistics": 64, "d_model": 16, "n_heads": 2, "trunk_width": 16}
    module = make_decoder(probed(), task(), sites, constrained=True, **sizes)
    made = DecoderObjective(module, probed(), task(), DecoderTrainingConfig(full_steps=0, full_share=1.0))
    batch = made.batch(0, size=40)
    assert batch.lengths.max() == 7  # the sum follows from its two numbers
    with torch.no_grad():
        whole = -module.own_log_probs(batch.tokens, batch.read, batch.site_index).sum(dim=1).mean()
    torch.testing.assert_close(made.loss(module, batch).detach(), whole)


def cell_hits(rates):
    """Twelve draws in each cell but the begin token's, of which these shares hit."""
    drawn = torch.full((len(SITES), 14), 12.0)
    drawn[:, 0] = 0
    return CellHits(drawn * rates, drawn)


def test_weights_reach_the_sampler_and_the_checkpoint():
    rates = torch.full((len(SITES), 14), 0.95)
    rates[2], rates[:, 9] = 0.2, 0.2
    made = objective(rates=lambda decoder: cell_hits(rates), reweight_every=10)
    assert made.after_step(9) == {}
    logged = made.after_step(10)
    assert logged[f"rate/{SITES[2]}"] == pytest.approx(0.2)
    assert logged[f"rate/{SITES[0]}"] == pytest.approx(0.95 - 0.75 / 13)
    assert made.weights[:, 1:].min() >= 1 / 3
    assert made.weights.max() <= 3
    drawn = torch.cat([made.batch(step, size=500).site_index for step in range(4)])
    assert torch.bincount(drawn, minlength=5)[2] / len(drawn) > 0.4
    equally = objective(full_share=0.0).batch(0, size=2000).lengths
    lagging = dataclasses.replace(made, config=DecoderTrainingConfig(full_steps=0, full_share=0.0))
    lagging.load_state_dict(made.state_dict())
    lagging = lagging.batch(0, size=2000).lengths
    assert (lagging == 9).float().mean() > 1.5 * (equally == 9).float().mean()
    resumed = objective(reweight_every=10)
    resumed.load_state_dict(made.state_dict())
    assert as_set(resumed.batch(11, size=50)) == as_set(made.batch(11, size=50))


def test_cells_are_weighed_by_what_they_lack():
    nothing = CellHits(torch.zeros(2, 3), torch.zeros(2, 3))
    assert torch.equal(cell_weights(nothing), torch.ones(2, 3))
    drawn = torch.tensor([[0.0, 1000.0, 1000.0], [0.0, 1000.0, 1000.0]])
    share = torch.tensor([[0.0, 0.9, 0.8], [0.0, 0.7, 0.6]])
    weights = cell_weights(CellHits(drawn * share, drawn))
    assert (weights[:, 0] == 1).all()
    assert weights[0, 1] < weights[0, 2] < weights[1, 1] < weights[1, 2]
    assert weights[:, 1:].mean() == pytest.approx(1, abs=0.05)
    assert weights[1, 2] / weights[0, 2] == pytest.approx(2, abs=0.1)


def test_normalisation_is_that_of_the_training_activations():
    made = objective()
    batch = made.batch(0, size=4000)
    for index in range(len(SITES)):
        mine, trunk = batch.read[batch.site_index == index], made.module.trunk
        z = ((mine - trunk.mean[index]) / trunk.scale[index])[:, : made.module.config.width(index)]
        assert z.mean(dim=0).abs().max() < 0.5
        assert z.pow(2).mean().sqrt() == pytest.approx(1, abs=0.2)


def test_a_decoder_knows_what_it_belongs_to_and_depends_on_its_seed():
    sites = [Site.parse(name) for name in SITES]
    one, same, other = (make_decoder(probed(), task(), sites, seed=s, n_statistics=64) for s in (0, 0, 1))
    assert one.config.fingerprint == probed().fingerprint
    assert one.config.convention == "tl"
    assert one.config.sites == SITES
    assert torch.equal(one.body.head.weight, same.body.head.weight)
    assert not torch.equal(one.body.head.weight, other.body.head.weight)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_two_processes_train_the_decoder_that_one_does(kind, tmp_path):
    if kind != "sums":
        random_model("gpt2").save_pretrained(tmp_path / "backbone")
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "--module"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    command = [*launch, "tests.decoder.train_tiny", str(tmp_path / "two"), kind]
    subprocess.run(command, cwd=ROOT, env=environment, check=True)
    at_once = in_parts.LOGITS_AT_ONCE
    try:
        one = run(tmp_path / "one", kind)
    finally:
        in_parts.LOGITS_AT_ONCE = at_once
    lines = [json.loads(line) for line in (tmp_path / "two" / "metrics.jsonl").read_text().splitlines()]
    two = {line["step"]: line["loss"] for line in lines}
    assert two.keys() == one.keys()
    assert two == pytest.approx(one, rel=1e-5)


def test_many_sites_are_normalised_by_fewer_inputs(monkeypatch):
    from inversionview.decoder import training

    sites = [Site.parse(name) for name in SITES]
    sizes = {"d_model": 16, "n_heads": 2, "trunk_width": 16}
    whole = make_decoder(probed(), task(), sites, n_statistics=300, **sizes)
    monkeypatch.setattr(training, "MOST_STATISTICS", 300 * sum(map(whole.config.width, range(len(sites)))))
    bounded = make_decoder(probed(), task(), sites, n_statistics=4096, **sizes)
    torch.testing.assert_close(bounded.trunk.mean, whole.trunk.mean)


def test_a_large_model_is_normalised_by_several_positions_of_few_inputs(monkeypatch):
    from inversionview.decoder import training

    read = []

    def watched(probed, tokens, places, sites):
        read.append(tuple(places.shape))
        return read_vectors(probed, tokens, places, sites)

    monkeypatch.setattr(training, "read_vectors", watched)
    monkeypatch.setattr(training, "affordable", lambda most, least, probed: 300)
    make_decoder(probed(), task(), [Site.parse(name) for name in SITES], d_model=16, n_heads=2, trunk_width=16)
    assert read == [(300, 4096 // 300)]


def test_ranks_are_among_the_training_activations():
    sites = [Site.parse(name) for name in SITES]
    made = make_decoder(probed(), task(), sites, n_quantiles=9, d_model=16, n_heads=2, trunk_width=16)
    for index, site in enumerate(sites):
        tokens = task().sample(500, generator=torch.Generator().manual_seed(7), split="train")
        positions = draw_positions(task(), tokens, torch.Generator().manual_seed(8))
        read = read_vectors(probed(), tokens, positions[:, None], [site])[site][:, 0]
        read = torch.nn.functional.pad(read, (0, made.config.d_activation - read.shape[1]))
        ranks = made.trunk._ranks(read, torch.full((500,), index))[:, : made.config.width(index)]
        assert (ranks < 0).float().mean().item() == pytest.approx(0.5, abs=0.1)
        assert (ranks.abs() <= 1).float().mean() > 0.95


def test_a_head_is_read_in_its_own_coordinates():
    sites = [Site.parse(name) for name in ("a0.1", "x0.post")]
    made = make_decoder(probed(), task(), sites, n_statistics=64, d_model=16, n_heads=2, trunk_width=16)
    assert made.config.widths == (probed().width("z0.1"), probed().d_model)
    tokens = task().sample(8, generator=torch.Generator().manual_seed(0))
    activations, index = probed().capture(tokens, sites, 5), torch.arange(8) % 2
    given = torch.where((index == 0)[:, None], activations[sites[0]], activations[sites[1]])
    read = made.coordinates(given, index)
    torch.testing.assert_close(torch.cdist(read, read)[::2, ::2], torch.cdist(given, given)[::2, ::2])
    torch.testing.assert_close(read[1::2], given[1::2])
    with torch.no_grad():
        torch.testing.assert_close(made.log_prob(tokens, given, index), made.own_log_probs(tokens, read, index).sum(1))


def test_sites_of_several_widths_train_one_decoder(tmp_path):
    sites = [Site.parse(name) for name in ("x0.post", "z0.1", "n1")]
    model = probed()
    module = make_decoder(model, task(), sites, n_statistics=64, d_model=16, n_heads=2, trunk_blocks=1, trunk_width=16)
    assert module.config.widths == tuple(model.width(site) for site in sites)
    assert module.config.d_activation == max(module.config.widths) > min(module.config.widths)
    objective = DecoderObjective(module, model, task(), DecoderTrainingConfig(groups=2))
    losses = train(objective, TrainingConfig(batch_size=32, steps=30, warmup_steps=2, log_every=1), tmp_path).losses
    assert losses[30] < losses[1] - 1
    tokens = task().sample(4, generator=torch.Generator().manual_seed(0))
    narrow, index = module.config.widths[1], torch.ones(4, dtype=torch.long)
    activations = model.capture(tokens, [sites[1]], 5)[sites[1]]
    beyond = torch.cat([activations, torch.randn(4, module.config.d_activation - narrow)], dim=1)
    with torch.no_grad():
        expected = module.log_prob(tokens, activations, index)
        torch.testing.assert_close(module.log_prob(tokens, beyond, index), expected)
        assert not torch.allclose(module.log_prob(tokens, activations + 1, index), expected)
