"""Trains a tiny decoder in fp32: `python -m tests.decoder.train_tiny OUT KIND`, or under `torchrun`."""

import sys
from pathlib import Path

import torch

from inversionview.decoder import loss
from inversionview.decoder.training import (
    CellHits,
    DecoderObjective,
    DecoderTrainingConfig,
    Pretrained,
    make_decoder,
)
from inversionview.probed.model import ProbedModel
from inversionview.sites import Site
from inversionview.tasks.text.task import TextTask
from inversionview.tasks.vocabulary import Vocabulary
from inversionview.training import TrainingConfig, train
from tests.preimage.tiny import probed, task
from tests.studies.text_models import random_model, some_texts
from tests.tokenizers import byte_tokenizer

KINDS = ("sums", "texts", "texts by a language model", "texts by the model itself")
SITES = ("x0.pre", "a0.1", "x1.post")
SMALL = {"trunk_blocks": 1, "trunk_width": 32, "d_model": 32}


def run(out, kind="sums"):
    torch.set_num_threads(1)
    sites = [Site.parse(name) for name in SITES]
    model, domain, pretrained = probed(), task(), None
    if kind != "sums":
        tokenizer = byte_tokenizer()
        model = ProbedModel(random_model("gpt2"), tokenizer)
        domain = TextTask.from_texts(Vocabulary(tokenizer), some_texts(200), 8)
        loss.LOGITS_AT_ONCE = 2**14  # so that the loss is made in parts
    if kind == "texts by a language model":
        pretrained = Pretrained(str(Path(out).parent / "backbone"))
    if kind == "texts by the model itself":
        pretrained = Pretrained("self", lora_rank=2)
    module = make_decoder(model, domain, sites, n_statistics=256, pretrained=pretrained, **SMALL)
    data = DecoderTrainingConfig(groups=2, full_steps=4, reweight_every=5)
    objective = DecoderObjective(module, model, domain, data, rates=rates)
    steps = 12 if kind == "sums" else 6
    config = TrainingConfig(batch_size=16, steps=steps, log_every=1, precision="fp32", warmup_steps=2)
    return train(objective, config, out).losses


def rates(decoder):
    """Not measured, but of the weights, so that processes which drift apart would draw different sites."""
    shape = len(decoder.config.sites), decoder.config.max_length
    drawn = torch.full(shape, 10.0)
    weights = decoder.trunk.input.weight.detach().flatten()[: drawn.numel()].view(shape)
    return CellHits(drawn * weights.sigmoid(), drawn)


if __name__ == "__main__":
    run(*sys.argv[1:])
