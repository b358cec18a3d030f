"""A tiny random model of the counting task."""

from __future__ import annotations

import functools

import torch
from transformers import GPT2Config, GPT2LMHeadModel

from inversionview.probed.model import ProbedModel
from inversionview.results.preimage import Query
from inversionview.tasks import get_task


@functools.cache
def counting_task():
    return get_task("counting")


@functools.cache
def counting_probed() -> ProbedModel:
    config = GPT2Config(
        vocab_size=40, n_positions=33, n_embd=16, n_layer=2, n_head=1, initializer_range=0.4, bos_token_id=37,
        eos_token_id=38, pad_token_id=39,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return ProbedModel(GPT2LMHeadModel(config).eval(), convention="tl")


def counting_query(text: str, at: str, site: str) -> Query:
    task = counting_task()
    tokens = task.encode(text)
    position = int(task.position_of(tokens[None], at)[0])
    return Query("counting", text, tuple(tokens.tolist()), tuple(task.token_strings(tokens)), position, at, site)
