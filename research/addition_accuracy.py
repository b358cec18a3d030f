"""How often the paper's model of addition is right, beside the counts that stand in the published code."""

from __future__ import annotations

import random
from itertools import product
from typing import NamedTuple

import torch

from inversionview.shapes import InputMask, Tokens
from inversionview.studies.study import Study
from inversionview.tasks.outputs import exact_match
from research import markdown
from research.documents import Document


class Published(NamedTuple):
    """The share of right answers among some sums, and how many are right where that was said."""

    sums: str
    share: float
    right: int | None
    n: int
    tested: bool | None = None
    """Of the paper's test side, of its training side, or of both."""
    nine: bool | None = None
    """Those whose tens digits add up to 9 alone, where a carry from the units goes on to the hundreds."""
    three: bool | None = None
    """Those whose answer has three digits, or four, or either."""

    def has(self, tested: bool, nine: bool, three: bool) -> bool:
        """Whether sums of this kind are among them."""
        asked = zip((self.tested, self.nine, self.three), (tested, nine, three), strict=True)
        return all(wanted in (None, given) for wanted, given in asked)


PUBLISHED = (
    Published("held out by the paper", 0.9801, None, 202_500, tested=True),
    Published("held out, F2+S2 = 9", 0.8006, 16_152, 20_175, tested=True, nine=True),
    Published("trained on", 0.9804, None, 607_500, tested=False),
    Published("trained on, F2+S2 = 9", 0.8045, 48_932, 60_825, tested=False, nine=True),
    Published("all with F2+S2 = 9", 0.8035, 65_084, 81_000, nine=True),
    Published("these, answers of three digits", 0.9126, 29_567, 32_400, nine=True, three=True),
    Published("these, answers of four digits", 0.7308, 35_517, 48_600, nine=True, three=False),
)


def held_out_by_the_paper(tokens: Tokens) -> InputMask:
    """Which sums the published code tests on: the last quarter of all pairs of numbers, shuffled by a seed of 0."""
    shuffled = list(range(900 * 900))
    random.Random(0).shuffle(shuffled)
    held_out = torch.zeros(len(shuffled), dtype=torch.bool)
    held_out[torch.tensor(shuffled[len(shuffled) * 3 // 4 :])] = True
    first, second = ((tokens[:, i : i + 3] * torch.tensor([100, 10, 1])).sum(dim=1) - 100 for i in (1, 5))
    return held_out[first * 900 + second]


def tens_add_up_to_nine(tokens: Tokens) -> InputMask:
    """Whether F2+S2 = 9."""
    return tokens[:, 2] + tokens[:, 6] == 9


def accuracy(study: Study) -> Document:
    """Right answers, and sums, of each group that a number was published for."""
    tokens = torch.cat(list(study.task.enumerate()))
    tested, nine, three = held_out_by_the_paper(tokens), tens_add_up_to_nine(tokens), tokens[:, 12] == study.task.end
    counts = {}
    for kind in product((True, False), repeat=3):
        rows = tokens[(tested == kind[0]) & (nine == kind[1]) & (three == kind[2])]
        counts[kind] = (round(exact_match(study.probed, study.task, rows) * len(rows)), len(rows))
    return {
        group.sums: [sum(column) for column in zip(*(counts[kind] for kind in counts if group.has(*kind)), strict=True)]
        for group in PUBLISHED
    }


def table(measured: Document) -> str:
    """The published numbers beside ours, as Markdown."""
    rows = []
    for group in PUBLISHED:
        right, n = measured[group.sums]
        published = f"{group.share:.4f}" + ("" if group.right is None else f" ({group.right:,} of {group.n:,})")
        same = n == group.n and (f"{right / n:.4f}" == f"{group.share:.4f}") and group.right in (None, right)
        ours = f"{right / n:.4f} ({right:,} of {n:,})"
        rows.append((group.sums, published, ours if same else f"**{ours}**"))
    return markdown.table(("sums", "published", "measured"), rows)
