"""Where a batch that is sorted by length is cut into groups of one length each."""

from __future__ import annotations

import numpy as np

from inversionview.decoder.model import RaggedRows
from inversionview.shapes import Positions


def cut_by_length(lengths: Positions, groups: int) -> tuple[RaggedRows, ...]:
    """Cut rows of these lengths, in rising order, into `groups` groups at most, so that the fewest tokens are run."""
    longest, rows = np.unique(lengths.numpy(), return_counts=True)
    before = np.concatenate([[0], rows.cumsum()])
    # Tokens of a group that reaches from one length, the first axis, to another one.
    tokens = np.where(np.tri(len(longest), dtype=bool).T, (before[1:] - before[:-1, None]) * longest, np.inf)
    fewest, starts = tokens[0], []
    for _ in range(min(groups, len(longest)) - 1):
        totals = fewest[:-1, None] + tokens[1:]
        starts.append(1 + totals.argmin(axis=0))
        fewest = totals.min(axis=0)
    end, cuts = len(longest), []
    for start in [*reversed(starts), np.zeros(len(longest), dtype=int)]:
        first = int(start[end - 1])
        cuts.append(RaggedRows(int(before[end] - before[first]), int(longest[end - 1])))
        end = first
    return tuple(reversed(cuts))
