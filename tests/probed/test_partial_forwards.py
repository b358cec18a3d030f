"""Logits at some positions, of some tokens, and of a run that is run again in part, against whole forwards."""

from __future__ import annotations

import threading

import pytest
import torch

from inversionview.errors import UserError
from inversionview.probed.model import Patch, ProbedModel
from tests.probed.tiny import MODELS, VOCAB, tiny

GENERATOR = torch.Generator().manual_seed(0)
TOKENS = torch.randint(1, VOCAB, (6, 9), generator=GENERATOR)
AT = torch.tensor([4, 5, 8, 4, 6, 7])


@pytest.fixture(scope="module", params=list(MODELS))
def probed(request):
    return ProbedModel(tiny(request.param))


@pytest.fixture(scope="module")
def gpt2():
    return ProbedModel(tiny("gpt2"), convention="tl")


def patches(probed: ProbedModel) -> list[Patch]:
    values = torch.randn(len(probed.sites), len(TOKENS), probed.d_model, generator=torch.Generator().manual_seed(1))
    return [Patch(site, AT, value) for site, value in zip(probed.sites[::2], values, strict=False)]


def close(actual: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(actual, expected, atol=5e-5, rtol=1e-4)


def test_logits_at_positions_are_those_of_the_whole(probed):
    whole = probed.logits(TOKENS, patches(probed))
    rows = torch.arange(len(TOKENS))
    close(probed.logits(TOKENS, patches(probed), positions=AT), whole[rows, AT])
    close(probed.logits(TOKENS, patches(probed), positions=3), whole[:, 3])
    two = torch.stack([AT, AT - 4], dim=1)
    found = probed.logits(TOKENS, patches(probed), positions=two)
    assert found.shape == (len(TOKENS), 2, VOCAB)
    close(found, whole[rows[:, None], two])


@pytest.mark.parametrize("start", [0, 1, 4])
def test_a_rerun_has_the_logits_of_whole_inputs(probed, start):
    run = probed.clean_run(TOKENS, start)
    assert run.start == start
    for changes in ([], patches(probed), []):  # the run outlasts its use, and a patch leaves nothing in it
        whole = probed.logits(TOKENS, changes)
        close(probed.rerun(run, changes), whole[:, start:])
        close(probed.rerun(run, changes, positions=AT), whole[torch.arange(len(TOKENS)), AT])


def test_rows_of_a_run_may_be_repeated_and_have_patches_of_their_own(probed):
    run, rows, at = probed.clean_run(TOKENS, 3), torch.tensor([5, 0, 5, 2]), AT[[5, 0, 5, 2]]
    values = torch.randn(2, probed.d_model, generator=torch.Generator().manual_seed(1))
    for site in probed.sites:
        some = [
            Patch(site, at[[0]], values[:1], rows=torch.tensor([0])),
            Patch(site, 4, values[1], rows=torch.tensor([3])),
        ]
        found = probed.rerun(run, some, rows=rows, positions=at)
        first, last = (TOKENS[[5]], [Patch(site, at[0], values[0])]), (TOKENS[[2]], [Patch(site, 4, values[1])])
        close(found[:1], probed.logits(*first, positions=at[:1]))
        close(found[1:3], probed.logits(TOKENS[rows[1:3]], positions=at[1:3]))
        close(found[3:], probed.logits(*last, positions=at[3:]))


@pytest.mark.parametrize("site", ["embed", "x0.post", "x1.pre", "a1.1", "x1.post"])
def test_only_the_layers_that_a_patch_reaches_are_run_again(gpt2, site, monkeypatch):
    run, ran = gpt2.clean_run(TOKENS, 4), []
    for layer, block in enumerate(gpt2.model.transformer.h):
        monkeypatch.setattr(
            block.attn, "forward", lambda *a, own=block.attn.forward, i=layer, **k: ran.append(i) or own(*a, **k)
        )
    gpt2.rerun(run, [Patch(site, 5, torch.zeros(gpt2.width(site)))], positions=8)
    assert ran == {"embed": [0, 1], "x0.post": [0, 1]}.get(site, [1])
    ran.clear()
    close(gpt2.rerun(run, positions=8), gpt2.logits(TOKENS, positions=8))
    assert ran == [0, 1], "and nothing where nothing is patched"


def test_logits_of_some_tokens_are_those_among_all(probed):
    of = torch.randint(VOCAB, (len(TOKENS), 3), generator=torch.Generator().manual_seed(2))
    run, rows = probed.clean_run(TOKENS, 3), torch.arange(len(TOKENS))[:, None]
    for changes in ([], patches(probed)):
        whole = probed.logits(TOKENS, changes)
        close(probed.logits(TOKENS, changes, of=of), whole.gather(2, of[:, None].expand(-1, 9, -1)))
        close(probed.logits(TOKENS, changes, of=of, positions=AT), whole[rows[:, 0], AT].gather(1, of))
        two = torch.stack([AT, AT - 4 + 3], dim=1)
        close(
            probed.rerun(run, changes, of=of, positions=two), whole[rows, two].gather(2, of[:, None].expand(-1, 2, -1))
        )


def test_the_whole_vocabularys_logits_are_never_there_where_a_few_are_wanted(gpt2, monkeypatch):
    whole = torch.nn.functional.linear
    sizes = []
    monkeypatch.setattr(torch.nn.functional, "linear", lambda x, w, *a: sizes.append(w.shape[0]) or whole(x, w, *a))
    gpt2.logits(TOKENS, of=TOKENS[:, :2])
    assert VOCAB not in sizes
    gpt2.logits(TOKENS)
    assert VOCAB in sizes


def test_a_head_that_does_more_than_multiply_gives_its_own_logits_of_some_tokens():
    model = tiny("llama")
    own = model.lm_head

    class Shifted(torch.nn.Linear):
        def forward(self, stream):
            return super().forward(stream) + 1

    model.lm_head = Shifted(own.in_features, own.out_features, bias=False)
    model.lm_head.weight = own.weight
    shifted = ProbedModel(model)
    close(
        shifted.logits(TOKENS, of=TOKENS[:, :2], positions=AT),
        shifted.logits(TOKENS, positions=AT).gather(1, TOKENS[:, :2]),
    )


def test_a_run_of_another_thread_is_whole_while_one_begins_at_a_layer(gpt2):
    run = gpt2.clean_run(TOKENS, 4)
    expected, other = gpt2.model(TOKENS).logits, []
    block = gpt2.model.transformer.h[0]

    def meanwhile(module, args):
        if not other:
            other.append(None)
            thread = threading.Thread(target=lambda: other.append(gpt2.model(TOKENS).logits))
            thread.start()
            thread.join()

    handle = block.register_forward_pre_hook(meanwhile)
    gpt2.rerun(run, [Patch("a1.0", 5, torch.zeros(gpt2.d_model))], positions=8)
    handle.remove()
    close(other[1], expected)
    assert "forward" not in vars(block)


def test_a_model_without_a_cache_runs_the_whole(gpt2, monkeypatch):
    run = gpt2._parts.run

    def without(model, tokens, **options):
        output = run(model, tokens, **options)
        output.past_key_values = None
        return output

    monkeypatch.setattr(type(gpt2._parts), "run", lambda self, *args, **options: without(*args, **options))
    clean = gpt2.clean_run(TOKENS, 4)
    assert clean.cache is None
    assert clean.start == 0
    close(gpt2.rerun(clean, positions=AT), gpt2.logits(TOKENS, positions=AT))


def test_a_model_that_keeps_all_logits_gives_the_same(gpt2, monkeypatch):
    found = gpt2.logits(TOKENS, positions=AT)
    monkeypatch.setattr(gpt2, "_keeps_some", False)
    close(gpt2.logits(TOKENS, positions=AT), found)


def test_no_inputs_have_no_logits(gpt2):
    none = TOKENS[:0]
    assert gpt2.rerun(gpt2.clean_run(none, 2), positions=AT[:0]).shape == (0, VOCAB)
    assert gpt2.logits(none, positions=AT[:0], of=none[:, :3]).shape == (0, 3)
    assert gpt2.logits(none, positions=torch.zeros(0, 3, dtype=torch.long)).shape == (0, 3, VOCAB)


@pytest.mark.parametrize(
    ("ask", "words"),
    [
        (lambda p: p.logits(TOKENS, positions=9), "position 9 is not in inputs of 9 tokens"),
        (lambda p: p.logits(TOKENS, positions=AT[:3]), "one for each of the 6 inputs"),
        (lambda p: p.logits(TOKENS, positions="last"), "must be integers"),
        (lambda p: p.clean_run(TOKENS, 9), "position 9 is not in inputs of 9 tokens"),
        (lambda p: p.rerun(p.clean_run(TOKENS, 4), positions=3), "position 3 comes before position 4"),
        (
            lambda p: p.rerun(p.clean_run(TOKENS, 4), [Patch("x0.pre", 2, torch.zeros(16))]),
            "position 2 comes before position 4",
        ),
        (lambda p: p.logits(TOKENS, of=TOKENS[0]), "integers .batch, some. for 6 inputs"),
        (lambda p: p.logits(TOKENS, of=TOKENS + VOCAB), f"the model's are of 0 to {VOCAB - 1}"),
        (
            lambda p: p.logits(TOKENS, [Patch("x0.pre", 2, torch.zeros(16), torch.tensor([6]))]),
            "distinct ones of 0 to 5",
        ),
        (
            lambda p: p.logits(TOKENS, [Patch("x0.pre", 2, torch.zeros(16), torch.tensor([1, 1]))]),
            "distinct ones of 0 to 5",
        ),
    ],
)
def test_what_does_not_fit_is_one_line(gpt2, ask, words):
    with pytest.raises(UserError, match=words) as raised:
        ask(gpt2)
    assert "\n" not in str(raised.value)
