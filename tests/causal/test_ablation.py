from __future__ import annotations

import json
import math

import pytest
import torch

from inversionview.causal import ablation as module
from inversionview.causal.ablation import ablate
from inversionview.errors import UserError
from inversionview.probed.model import ProbedModel
from inversionview.tasks import outputs
from tests.causal import tiny
from tests.causal.tiny import addition, counting, probed
from tests.paths import BUNDLED, PAPER_MODELS, SHARED
from tests.preimage.tiny import rows

TASK = addition()


def inputs(n: int = 6, seed: int = 0, task=TASK):
    return task.sample(n, generator=torch.Generator().manual_seed(seed))


def logits_with(row, position, value):
    """Log-probabilities of one input, with the output of the first block written by a hook where `value` is given."""
    model = probed().model

    def write(module, args, output):
        new = (output[0] if isinstance(output, tuple) else output).clone()
        new[0, position] = value
        return (new, *output[1:]) if isinstance(output, tuple) else new

    with torch.no_grad():
        if value is None:
            return model(row[None], use_cache=False).logits[0].double()
        handle = model.transformer.h[0].register_forward_hook(write)
        try:
            return model(row[None], use_cache=False).logits[0].double()
        finally:
            handle.remove()


def stream(rows, position):
    with torch.no_grad():
        return probed().model(rows, output_hidden_states=True, use_cache=False).hidden_states[1][:, position]


def by_hand(row, position, value, output):
    clean, other = logits_with(row, position, None)[output], logits_with(row, position, value)[output]
    p, q = clean.log_softmax(-1), other.log_softmax(-1)
    return float((p.exp() * (p - q)).sum()), float(other[clean.argmax()] - clean.max())


def test_mean_ablation_is_that_of_hooks_on_the_hugging_face_model(monkeypatch):
    monkeypatch.setattr(outputs, "_BLOCK_INPUTS", 3)
    tokens, sources = inputs(), inputs(10, 1)
    found = ablate(probed(), TASK, tokens, "x0.post", "+", sources=sources, outputs=["+", "=", 10])
    mean = stream(sources, 4).double().mean(dim=0).float()
    for i, row in enumerate(tokens):
        for j, output in enumerate((4, 8, 10)):
            kl, top = by_hand(row, 4, mean, output)
            assert float(found.kl[i, j]) == pytest.approx(kl, rel=1e-3, abs=1e-6)
            assert float(found.top_logit[i, j]) == pytest.approx(top, rel=1e-3, abs=1e-5)
    assert found.kl.max() > 1e-3
    effect = found.effects[1]
    column = found.kl[:, 1].tolist()
    assert effect.kl == pytest.approx(sum(column) / 6)
    assert effect.kl_se == pytest.approx(float(torch.tensor(column).std()) / math.sqrt(6), rel=1e-5)
    assert effect.kl_max == max(column)
    assert (effect.at, effect.n) == ("=", 6)


def test_resample_ablation_takes_the_activation_of_another_input():
    tokens, other = inputs(5), inputs(1, 7)
    found = ablate(probed(), TASK, tokens, "x0.post", "=", kind="resample", sources=other, outputs=["A2"])
    for i, row in enumerate(tokens):
        kl, top = by_hand(row, 8, stream(other, 8)[0], 10)
        assert float(found.kl[i, 0]) == pytest.approx(kl, rel=1e-3, abs=1e-6)
        assert float(found.top_logit[i, 0]) == pytest.approx(top, rel=1e-3, abs=1e-5)


def test_no_input_is_resampled_by_itself():
    tokens = inputs(4)
    pool = torch.cat([tokens[:1].expand(50, -1), tokens[1:2]])
    found = ablate(probed(), TASK, tokens[:1], "x0.post", "=", kind="resample", sources=pool, outputs=["="])
    kl, _ = by_hand(tokens[0], 8, stream(tokens[1:2], 8)[0], 8)
    assert float(found.kl[0, 0]) == pytest.approx(kl, rel=1e-3)
    with pytest.raises(UserError, match="no other input with a position '='"):
        ablate(probed(), TASK, tokens[:1], "x0.post", "=", kind="resample", sources=tokens[:1])


def test_an_input_is_not_changed_by_the_mean_over_itself_in_any_convention():
    for convention in ("raw", "tl"):
        model = tiny.probed("addition", convention)
        for site in ("x0.post", "a0.1", "m1", "attn0", "embed"):
            one = inputs(1)
            found = ablate(model, TASK, one, site, "S1", sources=one)
            assert float(found.kl.abs().max()) < 1e-9
            assert float(found.top_logit.abs().max()) < 1e-4


def test_by_default_all_that_predicts_the_answer_is_looked_at_and_what_an_input_lacks_is_no_number():
    tokens = rows("B100+100=200E", "B999+100=1099E", "B111+100=211E")
    found = ablate(probed(), TASK, tokens, "x0.post", "S3")
    assert found.outputs == ("=", "A1", "A2", "A3", "A4")
    assert found.sources == module.SOURCES
    assert found.kl[:, 4].isnan().tolist() == [True, False, True]
    assert not found.kl[:, :4].isnan().any()
    assert [effect.n for effect in found.effects] == [3, 3, 3, 3, 1]
    assert found.effects[4].kl_se is None
    late = ablate(probed(), TASK, tokens, "x0.post", "A3")
    assert late.outputs == ("A3", "A4")


def test_roles_are_matched_where_indices_differ():
    task = counting()
    tokens, sources = inputs(4, 0, task), inputs(9, 1, task)
    model = probed("counting")
    found = ablate(model, task, tokens, "x0.post", ":", sources=sources, outputs=[":"])
    at = task.position_of(sources, ":")
    assert len(at.unique()) > 1
    (values,) = model.capture(sources, ["x0.post"], at).values()
    mean = values.double().mean(dim=0).float()
    alone = [ablate(model, task, row[None], "x0.post", ":", sources=sources, outputs=[":"]).kl[0, 0] for row in tokens]
    torch.testing.assert_close(torch.stack(alone), found.kl[:, 0], rtol=1e-3, atol=1e-6)
    from inversionview.probed.model import Patch

    places = task.position_of(tokens, ":")
    patched = model.logits(tokens, [Patch("x0.post", places, mean)], positions=places).double().log_softmax(-1)
    clean = model.logits(tokens, positions=places).double().log_softmax(-1)
    torch.testing.assert_close(found.kl[:, 0], (clean.exp() * (clean - patched)).sum(-1), rtol=1e-3, atol=1e-6)


def test_the_same_seed_gives_the_same_and_blocks_do_not_matter(monkeypatch):
    def resampled(seed, at="S1"):
        return ablate(probed(), TASK, inputs(), "x0.post", at, kind="resample", outputs=["=", "A3"], seed=seed).kl

    first = resampled(3)
    assert torch.equal(resampled(3, 5), first)
    assert not torch.equal(resampled(4), first)
    monkeypatch.setattr(outputs, "_BLOCK_INPUTS", 2)
    torch.testing.assert_close(resampled(3), first, rtol=1e-3, atol=1e-7)


def test_the_document_is_json():
    document = ablate(probed(), TASK, rows("B100+100=200E"), "a0.0", "=").to_dict()
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    assert (document["site"], document["at"], document["kind"], document["n"]) == ("a0.0", "=", "mean", 1)
    assert set(document["effects"][0]) == {"at", "n", "kl", "kl_se", "kl_max", "top_logit", "top_logit_se"}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"kind": "zero"}, "unknown kind of ablation 'zero': use mean or resample"),
        ({"tokens": rows("B100+100=200E")[:0]}, "at least one input"),
        ({"at": "A4"}, "100[+]100=200 has no position 'A4' to ablate"),
        ({"at": 13}, "has no position 13 to ablate"),
        ({"at": "Q"}, "addition has no position 'Q'"),
        ({"outputs": ["S3"]}, "the output at 'S3' comes before '='"),
        ({"outputs": ["A4"]}, "none of the 1 inputs has a position 'A4'"),
        ({"outputs": []}, "at least one output"),
        ({"site": "a0.9"}, "no site a0.9"),
        (
            {"at": "A4", "tokens": rows("B999+100=1099E"), "sources": rows("B100+100=200E")},
            "none of the 1 inputs to take",
        ),
    ],
)
def test_mistakes_are_one_line(changes, words):
    asked = {"tokens": rows("B100+100=200E"), "site": "x0.post", "at": "="} | changes
    with pytest.raises(UserError, match=words) as caught:
        ablate(probed(), TASK, **asked)
    assert len(str(caught.value).splitlines()) == 1


def test_logits_that_are_no_numbers_are_an_error():
    broken = ProbedModel(tiny.tiny.gpt2(5))
    with torch.no_grad():
        broken.model.transformer.ln_f.bias[0] = math.nan
    with pytest.raises(UserError, match="not finite"):
        ablate(broken, TASK, inputs(2), "x0.post", "=")


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(BUNDLED / "addition" / "probed", id="bundled"),
        pytest.param(SHARED / PAPER_MODELS[0], id="paper", marks=pytest.mark.published(PAPER_MODELS[0])),
    ],
)
def test_a_model_that_adds_does_not_use_the_plus(path):
    model = ProbedModel.from_pretrained(path, convention="tl", device="cpu")
    tokens = TASK.sample(200, generator=torch.Generator().manual_seed(0), split="held-out")
    found = ablate(model, TASK, tokens, "x0.post", "+", outputs=["=", "A1", "A2", "A3"])
    assert max(effect.kl for effect in found.effects) < 1e-6
    used = ablate(model, TASK, tokens, "x0.post", "=", outputs=["="])
    assert used.effects[0].kl > 1
