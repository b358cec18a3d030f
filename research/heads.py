"""The order of a layer's heads, which is chance: claims that name heads are tested in the one in which most hold."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations
from typing import Any

import torch
from transformers import GPT2LMHeadModel

from research.claims import Claim, Measured, judged


def best_order(measured: Measured, claims: Sequence[Claim], layer: int, n_heads: int) -> tuple[int, ...]:
    """The heads of a layer in the order in which most claims hold, and then most tests of them; the first of several.

    What is called head i of the layer by the claims is head `order[i]` of what was measured.
    """

    def held(order: Sequence[int]) -> tuple[int, int]:
        verdicts = judged("", renamed(measured, layer, order), claims)
        checks = [check.holds for verdict in verdicts for check in (*verdict.encoded, *verdict.used)]
        return sum(verdict.agrees for verdict in verdicts), sum(checks)

    return max(permutations(range(n_heads)), key=held)


def renamed(measured: Measured, layer: int, order: Sequence[int]) -> Measured:
    """The same with head `order[i]` of the layer called head i; of what was patched, each site alone."""
    names = {f"a{layer}.{head}": f"a{layer}.{i}" for i, head in enumerate(order)}

    def name(site: str) -> str:
        head, at, position = site.partition("@")
        return names.get(head, head) + at + position

    def cell(one: Any) -> Any:
        return {**one, "site": name(one["site"])}

    def effect(one: Any) -> Any:
        return {**one, "sites": [name(site) for site in one["sites"]]}

    maps = {of: {**a_map, "cells": [cell(one) for one in a_map["cells"]]} for of, a_map in measured.maps.items()}
    patching = {
        of: {**document, "effects": [effect(one) for one in document["effects"] if one["order"] == "each"]}
        for of, document in measured.patching.items()
    }
    return measured._replace(maps=maps, patching=patching)


@torch.no_grad()
def reorder(model: GPT2LMHeadModel, layer: int, order: Sequence[int]) -> None:
    """Make head `order[i]` of the layer its head i, in place; what the model computes stays as it is."""
    attention: Any = model.transformer.h[layer].attn
    d_model = model.config.n_embd
    width = d_model // model.config.n_head
    of_heads = torch.cat([torch.arange(head * width, (head + 1) * width) for head in order])
    of_all_three = torch.cat([of_heads + part * d_model for part in range(3)])  # queries, keys, values
    attention.c_attn.weight.copy_(attention.c_attn.weight[:, of_all_three])
    attention.c_attn.bias.copy_(attention.c_attn.bias[of_all_three])
    attention.c_proj.weight.copy_(attention.c_proj.weight[of_heads])
