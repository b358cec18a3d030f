"""Verdicts of the page on real models follow from numbers by its rules."""

import pytest

from research import real_page

RANKS = {"above": 0.0, "above_se": 0.0, "rank": 3.0, "raised": 0.1, "lowered": 0.0}


def a_head(end=None, s2=None, flip=0.0, new=0.0, flip_s2=0.0, shown=None):
    """Shares of entropies of 4, 4 and 1 bits at two positions, drops of whole effects of 10, and attribution."""
    return {"END": end, "S2": s2, "flip@END": flip, "new IO@END": new, "flip@S2": flip_s2, "shown": shown or {}}


HEADS = {
    "a0.0": a_head(end={"IO": 3.9}, new=2.0, shown={"IO": 0.95}),
    "a0.1": a_head(end={"IO": 3.0, "S": 2.1}, flip=-0.8),
    "a1.0": a_head(end={"order": 0.9}, s2={"order": 0.8}, flip_s2=0.7),
    "a1.1": a_head(flip=3.0),
}


def document():
    of = {"IO": 4.0, "S": 4.0, "order": 1.0, "template": 4.0, "place": 2.0, "object": 2.0}

    def bits(shares):
        return None if shares is None else {name: [shares.get(name, 0.0), 0.01] for name in of}

    patching = {
        name: {"n": 50, "clean": 6.0, "clean_se": 0.1, "contrast_run": -4.0,
               "each": {head: [one[name], 0.05] for head, one in HEADS.items()}}
        for name in ("flip@END", "flip@S2", "new IO@END")
    }  # fmt: skip
    attribution = {
        head: {"difference": [0.1, 0.01]}
        | {name: RANKS | {"raised": one["shown"].get(name, 0.1)} for name in real_page.NAMES}
        for head, one in HEADS.items()
    }  # fmt: skip
    ioi = {
        "heads": list(HEADS), "layers": 2, "n": 900, "epsilon": "null:0.005", "queries": 200,
        "accuracy": {"n": 100, "above": 90, "right": 60}, "of": {"END": of, "S2": of},
        "map": {at: {head: bits(one[at]) for head, one in HEADS.items()} for at in ("END", "S2")},
        "permuted": {name: {"heads": 4, "mean": 0.001, "p95": 0.09} for name in ("IO", "S")},
        "patching": patching, "attribution": attribution,
        "together": [{"name": "gives IO", "heads": ["a0.0", "a0.1"], "contrast": "new IO", "drop": 2.5, "se": 0.1}],
    }  # fmt: skip
    cell = {"site": "a0.0", "feature": "S", "bits": 1.0, "low": 0.8, "high": 1.3, "exact": 1.4}
    slices = {
        "text": "T",
        "size": 400,
        "given": "all-but:S",
        "n": 300,
        "epsilon": "null:0.02",
        "width": 0.5,
        "cells": [cell],
    }
    return {"models": {"Tiny": {"ioi": ioi}}, "slices": [slices]}


def test_heads_play_the_parts_that_their_numbers_say():
    known = real_page.known(document()["models"]["Tiny"]["ioi"])
    assert known == {
        "gives IO": ["a0.0", "a0.1"],
        "gives S": ["a0.1"],
        "gives both names": ["a0.1"],
        "gives the order of the names": ["a1.0"],
        "gives the order, and no name": ["a1.0"],
        "holds the IO name and works against it": ["a0.1"],
        "works against the answer, whatever it holds": ["a0.1"],
        "moves the answer": ["a0.0", "a1.1"],
        "tells the duplicate at S2": ["a1.0"],
        "tells the duplicate at S2, and the answer hears of it": ["a1.0"],
    }


@pytest.mark.parametrize(
    "words",
    [
        "of 3 heads that read IO, S or the order at END, 1 barely move the answer when they are patched there: `a1.0`",
        "of 3 heads that move or oppose the answer, 1 read none of these: `a1.1` (+30%)",
        "of 8 pairs of a head at END and a name (IO, S), the preimage alone shows the name in 2",
        "both in 1, neither in 5",
        "0 of 1 intervals (0%) hold the exact value; of the others 1 say too little, 0 too much",
        "| gives IO | 2 | new IO | 25% ± 1% | 20% |",
        "| Tiny | IO | 4 | +0.10% | +9.00% | **no** |",
    ],
)
def test_the_page_says_what_the_numbers_say(words):
    page = " ".join(real_page.page(document()).split())
    assert words in page
