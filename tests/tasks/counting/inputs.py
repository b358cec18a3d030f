"""Inputs of the counting task, and what they are, in plain words."""

from __future__ import annotations

import random
from collections import Counter

import torch
from scipy.stats import chisquare

SYMBOLS = "abcdefghijklmnopqrstuvwxyz123456789|:BE_"
TEXTS = ["vvzccvczvvvzvcvc|v:8", "abc|a:1", "zyxzyxzyx|x:3", "aabac|b:1", "qmqmqmqmqqqqqmmmmmhhhhhhhh|h:8", "cba|b:1"]


FULL = "a" * 9 + "b" * 9 + "c" * 9 + "|c:9"


def rows(*texts: str) -> torch.Tensor:
    """Begin and end are typed as B and E; padded to the task's length."""
    return torch.tensor([[SYMBOLS.index(c) for c in text.ljust(33, "_")] for text in texts])


def inputs(*texts: str) -> torch.Tensor:
    return rows(*(f"B{text}E" for text in texts))


def strings(tokens: torch.Tensor) -> list[str]:
    return ["".join(SYMBOLS[t] for t in row).rstrip("_") for row in tokens.tolist()]


def is_input(text: str) -> bool:
    """The domain, in plain words."""
    if not (text.startswith("B") and text.endswith("E")) or text.count("|") != 1:
        return False
    letters, question = text[1:-1].split("|")
    count = Counter(letters)
    right = len(count) == 3 and all(c.islower() for c in count) and max(count.values()) <= 9
    return right and question in {f"{letter}:{n}" for letter, n in count.items()}


def random_inputs(n: int, seed: int = 0) -> list[str]:
    rng, made = random.Random(seed), []
    for _ in range(n):
        letters = [c for c in rng.sample(SYMBOLS[:26], 3) for _ in range(rng.randint(1, 9))]
        rng.shuffle(letters)
        asked = rng.choice(sorted(set(letters)))
        made.append(f"{''.join(letters)}|{asked}:{letters.count(asked)}")
    return made


def drawn(task, n: int, split: str = "all", seed: int = 0) -> torch.Tensor:
    return task.sample(n, generator=torch.Generator().manual_seed(seed), split=split)


def as_likely(observed, n_values: int) -> bool:
    """Whether counts of values look uniform; false for one right sampler in 100,000."""
    counts = Counter(observed)
    if n_values == 1:
        return len(counts) == 1
    return len(counts) <= n_values and chisquare([*counts.values(), *[0] * (n_values - len(counts))]).pvalue > 1e-5
