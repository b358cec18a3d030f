"""Prefixes against Python sets; activations of prefixes against those of whole inputs."""

from __future__ import annotations

import pytest
import torch

from inversionview.errors import UserError
from inversionview.probed.model import ProbedModel
from inversionview.probed.prefixes import prefix_tree, stem_length
from tests.probed.tiny import LAYER_NORM, LENGTH, MODELS, tiny


def alike(batch: int = 40, length: int = 9, seed: int = 0, ordered: bool = True) -> torch.Tensor:
    """Inputs of which many begin alike: few tokens are used, fewest at the beginning."""
    generator = torch.Generator().manual_seed(seed)
    columns = [1 + torch.randint(1 if t == 0 else 2 + t // 4, (batch,), generator=generator) for t in range(length)]
    tokens = torch.stack(columns, dim=1)
    return torch.unique(tokens, dim=0) if ordered else tokens


@pytest.fixture(scope="module", params=list(MODELS))
def probed(request):
    return ProbedModel(tiny(request.param))


@pytest.fixture(scope="module")
def gpt2():
    return ProbedModel(tiny("gpt2"))


def prefixes(tokens: torch.Tensor, n: int) -> list[tuple[int, ...]]:
    return [tuple(row[:n].tolist()) for row in tokens]


def agree(probed: ProbedModel, tokens: torch.Tensor, sites, positions) -> None:
    """Every input's activations, taken from its prefixes, are those of `capture`."""
    read = probed.capture_prefixes(tokens, sites, positions)
    whole = probed.capture(tokens, sites)
    assert list(read.at) == list(whole)
    for site, by_position in read.at.items():
        assert sorted(by_position) == sorted(set(positions))
        for t, z in by_position.items():
            assert z.shape == (len(read.tree.rows[t]), probed.d_model)
            torch.testing.assert_close(z[read.tree.owners[t]], whole[site][:, t], atol=2e-5, rtol=1e-4)


def test_sorted_inputs_have_each_prefix_once():
    tokens = alike(200)
    tree = prefix_tree(tokens)
    assert tree.owners.shape == tokens.T.shape
    assert len(tree.rows) == tokens.shape[1]
    for t in range(tokens.shape[1]):
        of_inputs = prefixes(tokens, t + 1)
        of_rows = prefixes(tokens[tree.rows[t]], t + 1)
        assert len(of_rows) == len(set(of_inputs))
        assert of_rows == sorted(set(of_inputs))
        assert [of_rows[owner] for owner in tree.owners[t]] == of_inputs


def test_unsorted_inputs_may_have_a_prefix_twice_but_never_another_ones():
    tokens = alike(200, ordered=False)
    tree = prefix_tree(tokens)
    for t in range(tokens.shape[1]):
        of_rows = prefixes(tokens[tree.rows[t]], t + 1)
        assert [of_rows[owner] for owner in tree.owners[t]] == prefixes(tokens, t + 1)
    assert any(len(tree.rows[t]) > len(set(prefixes(tokens, t + 1))) for t in range(tokens.shape[1]))


@pytest.mark.parametrize("shape", [(0, 4), (1, 4), (3, 0), (1, 1)])
def test_batches_without_neighbours_or_tokens(shape):
    tree = prefix_tree(torch.ones(shape, dtype=torch.long))
    assert tree.owners.shape == (shape[1], shape[0])
    assert [len(rows) for rows in tree.rows] == [min(shape[0], 1)] * shape[1]


def test_a_stem_is_run_where_it_spares_work_and_nowhere_else():
    assert stem_length(prefix_tree(torch.arange(50)[:, None].expand(-1, 6))) == 0, "all part at once"
    tokens = torch.zeros(50, 8, dtype=torch.long)
    tokens[:, 5:] = torch.arange(50)[:, None]
    assert stem_length(prefix_tree(tokens)) == 5
    assert stem_length(prefix_tree(tokens[:, 5:])) == 0
    assert stem_length(prefix_tree(tokens[:, :1])) == 0, "the last position is always run once an input"


@pytest.mark.parametrize("ordered", [True, False])
def test_prefixes_have_the_activations_of_whole_inputs(probed, ordered):
    tokens = alike() if ordered else alike().flip(1)
    assert (stem_length(prefix_tree(tokens)) > 0) == ordered, "both ways to run are tried"
    agree(probed, tokens, probed.sites, range(tokens.shape[1]))
    agree(probed, tokens, ["a0.1", "x0.post"], [5, 3, 3, 4])


def test_a_stem_longer_than_a_sliding_window_is_carried_on(probed):
    # the windows are of 4 tokens
    tokens = torch.ones(30, LENGTH - 2, dtype=torch.long)
    tokens[:, 9:] = 1 + torch.randint(9, (30, 5), generator=torch.Generator().manual_seed(0))
    tokens[:, 4:9] = 1 + torch.arange(30)[:, None] // 10
    tokens = torch.unique(tokens, dim=0)
    assert stem_length(prefix_tree(tokens)) == 9
    agree(probed, tokens, ["a1.2", "x1.post"], range(tokens.shape[1]))


@pytest.mark.parametrize("positions", [[0], [8], [8, 0], [2]])
@pytest.mark.parametrize("site", ["embed", "pos_embed", "x0.pre", "a0.1", "a1.3", "x1.post"])
def test_any_site_and_positions_may_be_asked_for_alone(gpt2, site, positions):
    agree(gpt2, alike(), site, positions)


@pytest.mark.parametrize("name", LAYER_NORM)
def test_the_folded_convention_is_read_too(name):
    folded = ProbedModel(tiny(name), convention="tl")
    agree(folded, alike(), folded.sites, range(9))


@pytest.mark.parametrize("site", ["a0.0", "x1.post"])
def test_nothing_is_left_on_the_model(gpt2, site):
    modules = list(gpt2.model.modules())
    gpt2.capture_prefixes(alike(), site, [2, 4])
    for module in modules:
        assert not module._forward_hooks
        assert not module._forward_pre_hooks
    assert not any(module.training for module in modules)


def test_a_pass_ends_at_the_deepest_site_and_the_last_position():
    probed = ProbedModel(tiny("gpt2"))
    shapes = {0: [], 1: []}
    for layer, block in enumerate(probed.model.transformer.h):
        block.register_forward_pre_hook(lambda module, args, layer=layer: shapes[layer].append(args[0].shape[:2]))
    tokens = alike().flip(1)
    probed.capture_prefixes(tokens, "a0.0", [3, 5])
    assert shapes == {0: [(len(tokens), 6)], 1: []}
    tokens = alike(300)
    probed.capture_prefixes(tokens, "x1.post", [2, 7])
    ran = sum(batch * length for batch, length in shapes[1])
    assert 0 < ran < 0.7 * tokens[:, :8].numel()


def test_without_inputs_sites_or_positions_there_is_nothing(gpt2):
    tokens = alike()
    none = gpt2.capture_prefixes(tokens[:0], ["x0.pre"], [1, 2])
    assert [z.shape for z in next(iter(none.at.values())).values()] == [(0, 16)] * 2
    assert gpt2.capture_prefixes(tokens, [], [1]).at == {}
    nowhere = gpt2.capture_prefixes(tokens, ["x0.pre"], [])
    assert list(nowhere.at.values()) == [{}]


def test_what_the_model_does_not_have_is_refused(gpt2):
    for position in (9, -1):
        with pytest.raises(UserError, match=f"position {position} is not in inputs of 9 tokens"):
            gpt2.capture_prefixes(alike(), "x0.pre", [1, position])
    with pytest.raises(UserError, match="no site x7"):
        gpt2.capture_prefixes(alike(), "x7.post", [1])
    with pytest.raises(UserError, match="not in this model's vocabulary"):
        gpt2.capture_prefixes(alike() + 90, "x0.pre", [1])
