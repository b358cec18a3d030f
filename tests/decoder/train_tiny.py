"""Trains a tiny decoder in fp32: `python -m tests.decoder.train_tiny OUT`, or under `torchrun`."""

import sys

import torch

from inversionview.decoder.training import CellHits, DecoderObjective, DecoderTrainingConfig, make_decoder
from inversionview.sites import Site
from inversionview.training import TrainingConfig, train
from tests.preimage.tiny import probed, task


def run(out):
    torch.set_num_threads(1)
    sites = [Site.parse(name) for name in ("x0.pre", "a0.1", "x1.post")]
    module = make_decoder(probed(), task(), sites, n_statistics=256, d_model=32, trunk_blocks=1, trunk_width=32)
    data = DecoderTrainingConfig(groups=2, full_steps=4, reweight_every=5)
    objective = DecoderObjective(module, probed(), task(), data, rates=rates)
    config = TrainingConfig(batch_size=16, steps=12, log_every=1, precision="fp32", warmup_steps=2)
    return train(objective, config, out).losses


def rates(decoder):
    """Not measured, but of the weights, so that processes which drift apart would draw different sites."""
    drawn = torch.full((3, 14), 10.0)
    return CellHits(drawn * decoder.head.weight[:3, :14].detach().sigmoid(), drawn)


if __name__ == "__main__":
    run(sys.argv[1])
