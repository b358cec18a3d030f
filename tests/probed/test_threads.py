import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from inversionview.probed.model import Patch, ProbedModel
from inversionview.sites import Site
from tests.probed.tiny import some_tokens, tiny


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_readers_and_patchers_of_one_model_do_not_disturb_each_other(name):
    model = tiny(name)
    convention = "tl" if name == "gpt2" else "raw"
    probes = [ProbedModel(model), ProbedModel(model, convention=convention)]
    inputs = [some_tokens(seed=seed) for seed in range(4)]
    patch = [Patch("x0.mid", 2, torch.linspace(-2, 2, probes[0].d_model))]
    jobs = [(probe, tokens) for probe in probes for tokens in inputs]

    def work(job):
        probe, tokens = job
        values = probe.capture(tokens, ["x0.pre", "a0.1", "x0.post"], 3)
        return [*values.values(), probe.logits(tokens, patch), probe.logits(tokens), probe.attention(tokens, 1)]

    expected = [work(job) for job in jobs]
    with ThreadPoolExecutor(8) as pool:
        for got, want in zip(pool.map(work, jobs * 2), expected * 2, strict=True):
            assert all(torch.equal(a, b) for a, b in zip(got, want, strict=True))


def test_forwards_of_one_model_run_one_after_the_other():
    # Else the first to end would bring dropout back into the other's forward.
    model = tiny("gpt2").train()
    first, second = ProbedModel(model), ProbedModel(model)
    tokens = some_tokens()
    expected = first.capture(tokens, "x1.post")[Site("resid_post", 1)]
    found = []
    thread = threading.Thread(target=lambda: found.append(second.capture(tokens, "x1.post")))

    def in_the_middle(module, args):
        handle.remove()
        thread.start()
        thread.join(timeout=0.5)
        assert thread.is_alive()

    handle = model.transformer.h[0].register_forward_pre_hook(in_the_middle)
    assert torch.equal(first.capture(tokens, "x1.post")[Site("resid_post", 1)], expected)
    thread.join()
    assert torch.equal(found[0][Site("resid_post", 1)], expected)
    assert all(module.training for module in model.modules())


def test_the_callers_own_forwards_in_another_thread_are_left_alone():
    model = tiny("gpt2")
    probed = ProbedModel(model)
    mine, theirs = some_tokens(seed=0), some_tokens(seed=1)
    expected = probed.capture(mine, "x0.post")[Site("resid_post", 0)]
    with torch.no_grad():
        plain = model(theirs).logits
    # Inside my forward, when all hooks are on, another thread runs the whole model.
    ran = []

    def run_theirs():
        with torch.no_grad():
            ran.append(model(theirs).logits)

    def in_the_middle(module, args):
        if threading.current_thread() is threading.main_thread():
            handle.remove()
            thread = threading.Thread(target=run_theirs)
            thread.start()
            thread.join()

    for ask in (
        lambda: torch.equal(probed.capture(mine, "x0.post")[Site("resid_post", 0)], expected),
        lambda: not torch.equal(probed.logits(mine, [Patch("x1.mid", 2, torch.ones(16))]), probed.logits(mine)),
        lambda: probed.attention(mine, 1).shape == (3, 4, 9, 9),
    ):
        ran.clear()
        handle = model.transformer.h[0].register_forward_pre_hook(in_the_middle)
        assert ask()
        assert len(ran) == 1
        assert torch.equal(ran[0], plain)
