from __future__ import annotations

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from inversionview.causal import head_selection as module
from inversionview.causal.head_selection import select_heads
from inversionview.errors import UserError
from inversionview.probed.model import ProbedModel
from inversionview.sites import Site
from tests.probed.tiny import LAYER_NORM, MODELS, NORM_AFTER_HEADS, VOCAB, some_tokens, tiny

TOKENS = some_tokens(batch=8, length=7)
AT = torch.tensor([1, 2, 3, 4, 5, 6, 1, 0])
"""Their heads are not added to the stream as they are."""
CASES = [(name, "raw") for name in MODELS] + [(name, "tl") for name in LAYER_NORM]


@pytest.fixture(scope="module", params=CASES, ids=" ".join)
def probed(request):
    return ProbedModel(tiny(request.param[0]), convention=request.param[1])


def by_hand(probed: ProbedModel, least: float) -> dict[str, tuple[float, float]]:
    """One input at a time, with numbers of Python; of models whose heads are added to the stream as they are."""
    found = {}
    for layer in range(probed.n_layers):
        names = [Site("resid_pre", layer), *(Site("head", layer, head) for head in range(probed.n_heads))]
        shares = []
        for row, at in zip(TOKENS, AT.tolist(), strict=True):
            values = probed.capture(row[None], [*names, Site("attn_out", layer)], at)
            flat = {site: value[0].double().tolist() for site, value in values.items()}
            whole = [a + b for a, b in zip(flat[names[0]], flat[Site("attn_out", layer)], strict=True)]
            near = []
            for name in names:
                rest = sum(abs(w - p) for w, p in zip(whole, flat[name], strict=True))
                near.append(max(1e-5, sum(map(abs, whole)) - rest))
            shares.append([one / sum(near) for one in near])
        for i, name in enumerate(names):
            column = [row[i] for row in shares]
            found[str(name)] = (sum(share > least for share in column) / 8, sum(column) / 8)
    return found


@pytest.mark.parametrize(
    "probed", [case for case in CASES if case[0] not in NORM_AFTER_HEADS], ids=" ".join, indirect=True
)
def test_it_is_what_the_formula_gives_input_by_input(probed, monkeypatch):
    assert probed._parts.architecture.attn_out == probed._parts.architecture.attention
    monkeypatch.setattr(module, "_BLOCK_VALUES", 3 * probed.n_layers * (probed.n_heads + 2) * probed.d_model)
    expected = by_hand(probed, 0.1)
    found = select_heads(probed, TOKENS, AT, least=0.1)
    assert [part.site for part in found.parts] == list(expected)
    for part in found.parts:
        assert (part.counts, part.proximity) == pytest.approx(expected[part.site], abs=1e-6)
    assert 0 < sum(part.counts for part in found.heads) < len(found.heads)


def test_the_shares_of_a_layer_add_up_to_one(probed):
    found = select_heads(probed, TOKENS, AT)
    for layer in range(probed.n_layers):
        assert sum(p.proximity for p in found.parts if Site.parse(p.site).layer == layer) == pytest.approx(1)


def test_the_upper_half_of_the_layers_counts_as_it_does_among_all():
    small = GPT2Config(n_layer=3, n_head=2, n_embd=12, vocab_size=VOCAB, n_positions=10)
    model = ProbedModel(GPT2LMHeadModel(small))
    everywhere = {part.site: part for part in select_heads(model, TOKENS, AT).parts}
    upper = select_heads(model, TOKENS, AT, upper=True).parts
    assert [part.site for part in upper] == [site for site in everywhere if Site.parse(site).layer >= 1]
    for part in upper:
        same = everywhere[part.site]
        assert (part.counts, part.proximity) == pytest.approx((same.counts, same.proximity))


def test_a_head_that_is_silenced_never_counts():
    model = tiny("gpt2")
    with torch.no_grad():
        model.transformer.h[0].attn.c_proj.weight[4:8] = 0
    found = {part.site: part for part in select_heads(ProbedModel(model), TOKENS, AT).parts}
    assert found["a0.1"].counts == 0
    assert found["a0.1"].proximity < 1e-4
    assert max(found[f"a0.{head}"].counts for head in (0, 2, 3)) > 0


def test_heads_come_by_how_often_they_count_and_the_document_is_plain():
    found = select_heads(ProbedModel(tiny("gpt2")), TOKENS, 3)
    assert [head.counts for head in found.heads] == sorted((head.counts for head in found.heads), reverse=True)
    assert len(found.heads) == 8
    document = found.to_dict()
    assert (document["schema"], document["n"], document["least"]) == (1, 8, 0.02)
    first = found.parts[0]
    assert document["parts"][0] == {"site": "x0.pre", "counts": first.counts, "proximity": first.proximity}


def test_mistakes_are_one_line():
    probed = ProbedModel(tiny("gpt2"))
    with pytest.raises(UserError, match="at least one input"):
        select_heads(probed, TOKENS[:0], 1)
    with pytest.raises(UserError, match="least must be a share"):
        select_heads(probed, TOKENS, 1, least=1.0)
    with pytest.raises(UserError, match="position 7"):
        select_heads(probed, TOKENS, 7)
