"""Groups of one length against every way to cut a batch."""

from itertools import combinations, pairwise

import pytest
import torch

from inversionview.decoder.groups import cut_by_length


def tokens_run(groups):
    return sum(group.rows * group.length for group in groups)


def fewest_of_all(lengths, groups):
    """The fewest tokens by trying every way to cut."""
    counts = []
    for number in range(1, groups + 1):
        for cuts in combinations(range(1, len(lengths)), number - 1):
            bounds = [0, *cuts, len(lengths)]
            counts.append(sum((b - a) * lengths[b - 1] for a, b in pairwise(bounds)))
    return min(counts)


@pytest.mark.parametrize("groups", [1, 2, 3, 4, 20])
@pytest.mark.parametrize("seed", range(4))
def test_no_other_cut_runs_fewer_tokens(groups, seed):
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, 12, (11,), generator=generator).sort().values
    cut = cut_by_length(lengths, groups)
    assert len(cut) <= groups
    assert sum(group.rows for group in cut) == len(lengths)
    ends = torch.tensor([group.rows for group in cut]).cumsum(0)
    starts = [0, *ends.tolist()]
    for start, end, group in zip(starts, ends.tolist(), cut, strict=False):
        assert group.length == int(lengths[start:end].max())
    assert tokens_run(cut) == fewest_of_all(lengths.tolist(), min(groups, len(lengths)))


def test_rows_of_one_length_are_one_group():
    assert cut_by_length(torch.full((5,), 7), 4) == ((5, 7),)
