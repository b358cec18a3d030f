"""How often a model is right, and how little of its logits is ever made for that."""

from __future__ import annotations

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from inversionview.probed.model import ProbedModel
from inversionview.studies.verbs import evaluate
from inversionview.tasks.outputs import PatchedRun, exact_match
from tests.preimage.tiny import few_sums, gpt2, task

VOCABULARY = 262_144
BOUND = 2**27
"""Bytes of logits at once: those of 128 positions of this vocabulary."""


@pytest.fixture(scope="module")
def wide() -> ProbedModel:
    config = GPT2Config(
        vocab_size=VOCABULARY, n_positions=14, n_embd=8, n_layer=1, n_head=1, bos_token_id=10, eos_token_id=13
    )
    torch.manual_seed(0)
    return ProbedModel(GPT2LMHeadModel(config))


def largest_logits(probed: ProbedModel, ask) -> int:
    """Bytes of the largest logits that are made while something is asked."""
    sizes = [0]
    handle = probed.model.lm_head.register_forward_hook(lambda module, args, out: sizes.append(4 * out.numel()))
    try:
        ask()
    finally:
        handle.remove()
    return max(sizes)


def test_the_logits_of_a_large_vocabulary_are_made_in_blocks_and_where_answers_are(wide):
    tokens = task().sample(400, generator=torch.Generator().manual_seed(0))
    whole = tokens.numel() * VOCABULARY * 4
    assert 0 < largest_logits(wide, lambda: exact_match(wide, task(), tokens)) <= BOUND < whole / 10


def test_patched_runs_of_a_large_vocabulary_go_in_blocks(wide):
    run = PatchedRun(wide, tokens := task().encode("615+861=1476"), "x0.post", 4, torch.arange(8, 12))
    assert len(tokens) == 14
    values = torch.randn(60, 8, generator=torch.Generator().manual_seed(0))
    assert 0 < largest_logits(wide, lambda: run.effects(values)) <= BOUND


def test_exact_match_is_the_share_of_answers_that_whole_logits_give():
    tokens = few_sums().sample(300, generator=torch.Generator().manual_seed(0))
    for seed in range(3):
        model = ProbedModel(gpt2(seed))
        # As good a model as it is bad: the answer it gives is made the one it is asked for, in every second input.
        mask = few_sums().answer_mask(tokens)[:, 1:]
        said = tokens.clone()
        for _ in range(6):
            said[::2, 1:] = torch.where(mask[::2], model.logits(said)[::2, :-1].argmax(-1), said[::2, 1:])
        right = ((model.logits(said)[:, :-1].argmax(-1) == said[:, 1:]) | ~mask).all(dim=1)
        fixed = _Fixed(mask)
        assert right.any()
        assert exact_match(model, fixed, said, block=7) == pytest.approx(float(right.float().mean()))
        assert exact_match(model, fixed, said) == exact_match(model, fixed, said, block=7)


class _Fixed:
    """A task whose answers are where they were, whatever stands there."""

    def __init__(self, mask: torch.Tensor) -> None:
        self.mask = torch.nn.functional.pad(mask, (1, 0))

    def answer_mask(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.mask[: len(tokens)]


@pytest.mark.parametrize(("n", "most"), [(50, 50), (None, 200), (5000, 200)])
def test_accuracy_takes_distinct_held_out_inputs_and_no_more_than_asked_for(n, most, monkeypatch):
    taken = []
    monkeypatch.setattr(evaluate, "ACCURACY_INPUTS", 200)
    monkeypatch.setattr(evaluate, "exact_match", lambda probed, task, tokens: taken.append(tokens) or 1.0)
    evaluate.held_out_accuracy(ProbedModel(gpt2()), task(), n=n)
    [tokens] = taken
    assert most / 2 < len(tokens) <= most
    assert len(torch.unique(tokens, dim=0)) == len(tokens)
    assert task().is_held_out(tokens).all()
