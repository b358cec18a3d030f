"""Heads in another order: claims find the heads that do what they say, whatever these are called."""

from __future__ import annotations

import copy
from itertools import permutations

import pytest
import torch

from inversionview.probed.model import ProbedModel
from research.claims import Bits, Claim, Measured, Moves, judged
from research.heads import best_order, renamed, reorder
from tests.preimage.tiny import gpt2


def measured(read: dict[str, str], moved: tuple[str, ...]) -> Measured:
    """Heads of the first layer that know one of two features each; patching some of them moves the answer."""

    def bits(head: str) -> dict[str, dict[str, float]]:
        return {name: {"bits": 4.0 * (name == read[head]), "of": 4.0, "se": 0.0} for name in "FS"}

    cells = [{"site": head, "at": "=", "bits": bits(head)} for head in read]
    cells.append({"site": "x0.post", "at": "=", "bits": {}})
    effects = [{"sites": [f"{head}@="], "order": "each", "drop": 10.0 * (head in moved), "se": 0.1} for head in read]
    effects += [{"sites": [f"{head}@=" for head in read], "order": "forward", "drop": 20.0, "se": 0.1}]
    patching = {"at": "=", "clean": 10.0, "contrast_run": -10.0, "effects": effects}
    return Measured({"map": {"cells": cells}}, {"s": patching}, {"kept": []}, {"kept": {}})


CLAIMS = [
    Claim("a0.0 knows F and moves it", "", (Bits("a0.0", "=", "F", "knows"),), (Moves("s", ("a0.0@=",)),)),
    Claim("a0.1 knows S", "", (Bits("a0.1", "=", "S", "knows"),)),
    Claim("a0.2 knows S and moves it", "", (Bits("a0.2", "=", "S", "knows"),), (Moves("s", ("a0.2@=",)),)),
]


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_the_order_is_found_in_which_the_claims_hold(order):
    read, moved = dict(zip([f"a0.{head}" for head in order], "FSS", strict=True)), (f"a0.{order[0]}", f"a0.{order[2]}")
    of_model = measured(read, moved)
    found = best_order(of_model, CLAIMS, 0, 3)
    assert found == order
    assert all(verdict.agrees for verdict in judged("m", renamed(of_model, 0, found), CLAIMS))


def test_of_orders_with_as_many_claims_the_one_with_more_tests_that_hold():
    of_model = measured({"a0.0": "S", "a0.1": "F", "a0.2": "S"}, ("a0.0",))
    found = best_order(of_model, CLAIMS, 0, 3)
    verdicts = judged("m", renamed(of_model, 0, found), CLAIMS)
    assert [verdict.agrees for verdict in verdicts] == [False, True, True]
    assert found == (1, 2, 0), "head 1 knows F, though it moves nothing"


def test_other_sites_and_what_names_no_head_stay():
    of_model = measured({"a0.0": "F", "a0.1": "S", "a0.2": "S"}, ())
    result = renamed(of_model, 0, (2, 0, 1))
    assert [cell["site"] for cell in result.maps["map"]["cells"]] == ["a0.1", "a0.2", "a0.0", "x0.post"]
    assert [effect["sites"] for effect in result.patching["s"]["effects"]] == [["a0.1@="], ["a0.2@="], ["a0.0@="]]
    assert (result.causal, result.ablation) == (of_model.causal, of_model.ablation)
    assert renamed(of_model, 1, (2, 0, 1)).maps == of_model.maps


def test_heads_change_places_and_the_model_stays_what_it_is():
    before = gpt2(n_head=4)
    for attention in (block.attn for block in before.transformer.h):
        torch.nn.init.normal_(attention.c_attn.bias)
    after, order = copy.deepcopy(before), (2, 0, 3, 1)
    reorder(after, 1, order)
    tokens = torch.randint(10, (3, 12), generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(after(tokens).logits, before(tokens).logits)
    sites = [f"a{layer}.{head}" for layer in range(2) for head in range(4)]
    there, here = (ProbedModel(model).capture(tokens, sites) for model in (before, after))
    of = dict(zip(map(str, there), there.values(), strict=True))
    for site, values in here.items():
        layer, head = site.layer, site.head
        torch.testing.assert_close(values, of[f"a{layer}.{order[head] if layer == 1 else head}"])
