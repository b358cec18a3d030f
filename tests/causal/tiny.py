"""Tiny random models of both tasks, and a plain loop of hooks to compare patching with."""

from __future__ import annotations

import functools
from contextlib import ExitStack, contextmanager

import torch

from inversionview.probed.model import ProbedModel
from inversionview.tasks import get_task
from tests.preimage import tiny

COUNTING = {"vocab_size": 40, "n_positions": 33}


@functools.cache
def addition():
    return get_task("addition")


@functools.cache
def counting():
    return get_task("counting")


@functools.cache
def probed(task: str = "addition", convention: str = "raw") -> ProbedModel:
    changes = {} if task == "addition" else COUNTING
    return ProbedModel(tiny.gpt2(3, **changes), convention=convention)


def difference(model, row, target, answers, edits=()):
    """Logit difference of one input at the position before its target, in a forward with `edits` made by hooks."""
    with ExitStack() as stack, torch.no_grad():
        for edit in edits:
            stack.enter_context(edit)
        logits = model(row[None, :target], use_cache=False).logits[0, target - 1].double()
    return float(logits[answers[0]] - logits[answers[1]])


def patched_difference(model, clean, contrast, target, answers, places):
    """The clean run's difference with `places`, (site, position in clean, position in contrast), patched into it."""
    values = [(site, here, _value(model, contrast, site, there)) for site, here, there in places]
    return difference(model, clean, target, answers, [_writing(model, *value) for value in values])


def _module(model, site):
    """Where a site is: a module, whether it is what goes in, and which part of the last axis."""
    body, width = model.transformer, model.config.n_embd
    name = str(site)
    if name in ("embed", "pos_embed"):
        return (body.wte if name == "embed" else body.wpe), False, slice(None)
    block, each = body.h[site.layer], width // model.config.n_head
    where = {
        "head": (block.attn.c_proj, True, slice((site.head or 0) * each, ((site.head or 0) + 1) * each)),
        "resid_pre": (block, True, slice(None)),
        "attn_out": (block.attn.c_proj, False, slice(None)),
        "mlp_out": (block.mlp, False, slice(None)),
        "resid_post": (block, False, slice(None)),
    }
    return where[site.kind]


@contextmanager
def _hooked(model, site, do):
    module, goes_in, part = _module(model, site)

    def before(module, args):
        return (do(args[0], part), *args[1:])

    def after(module, args, output):
        return (do(output[0], part), *output[1:]) if isinstance(output, tuple) else do(output, part)

    handle = module.register_forward_pre_hook(before) if goes_in else module.register_forward_hook(after)
    try:
        yield
    finally:
        handle.remove()


def _value(model, row, site, position):
    seen = []

    def keep(tensor, part):
        seen.append(tensor[0, position, part].clone())
        return tensor

    with torch.no_grad(), _hooked(model, site, keep):
        model(row[None], use_cache=False)
    return seen[0]


def _writing(model, site, position, value):
    def write(tensor, part):
        tensor = tensor.clone()
        if position < tensor.shape[1]:
            tensor[:, position, part] = value
        return tensor

    return _hooked(model, site, write)
