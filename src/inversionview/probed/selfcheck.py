"""A check, on a short input, that the sites of a model hold what their names say."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn

from inversionview.errors import UserError
from inversionview.probed.access import ACCESS, point_of
from inversionview.probed.hooks import Edit, Point, editing
from inversionview.probed.parts import AttentionInput, Parts
from inversionview.sites import Site

_LENGTH = 5


def check(parts: Parts, model: nn.Module) -> None:
    """Compare the sites with the model's own hidden states, and with each other, and patch once.

    Call it as in evaluation and with the model's lock held. Raises UserError that says which site disagrees with what.
    """
    tokens = _tokens(parts)
    values = _run(parts, tokens)
    for site, value in values.items():
        if ACCESS[site.kind].form != "result" and value.shape[-1] != parts.d_model:
            raise _refusal(
                parts, f"{site} has {value.shape[-1]} numbers a position and not the {parts.d_model} of d_model"
            )
    tolerance = _tolerance(values[Site("embed")])
    patched = _patched(parts, model, tokens)
    for name, value, expected in (*_identities(parts, values), *_effects(parts, values, patched)):
        if value.shape != expected.shape:
            raise _refusal(parts, f"{name} in shape: {tuple(value.shape)}, {tuple(expected.shape)}")
        error = ((value.to(expected.device) - expected).abs().amax() / expected.abs().amax().clamp_min(1e-6)).item()
        if not error <= tolerance:  # NaN as well
            raise _refusal(parts, f"{name} by {error:.2g} of its size (allowed: {tolerance:g})")


def _tolerance(like: Tensor) -> float:
    """Largest error allowed, relative to the largest value; what is read in the wrong place is off by about 1."""
    if like.dtype not in (torch.float32, torch.float64):
        return 0.05
    return 1e-4 if like.device.type == "cpu" else 2e-3  # accelerators may round the factors of float32 products


def _refusal(parts: Parts, why: str) -> UserError:
    return UserError(f"this {type(parts.decoder).__name__} cannot be read: {why}")


class _Values(dict[Site, Tensor]):
    """What one forward held at every site; a layer's head sites are one entry, head 0, with the whole z."""

    hidden_states: tuple[Tensor, ...]
    put_out: dict[tuple[int, str], Tensor]
    """What the other modules of a layer put out, by the names of `LayerParts`."""


def _tokens(parts: Parts) -> Tensor:
    """Two inputs that differ in the last token alone."""
    length = min(_LENGTH, parts.decoder.config.max_position_embeddings)
    n_tokens = parts.embed.num_embeddings
    tokens = (torch.arange(2 * length, device=parts.embed.weight.device).view(2, length) * 7) % n_tokens
    tokens[1, :-1] = tokens[0, :-1]
    tokens[1, -1] = (tokens[0, -1] + 1) % n_tokens
    return tokens


def _run(parts: Parts, tokens: Tensor) -> _Values:
    values = _Values()
    values.put_out = {}
    edits = [(point_of(site, parts), _keep(values, site, tokens.device)) for site in _sites(parts)]
    for layer, part in enumerate(parts.layers):
        for name in ("projection", "query", "key", "value", *["down"] * (part.down is not None)):
            point = Point(getattr(part, name), before=False)
            edits.append((point, _keep(values.put_out, (layer, name), tokens.device)))
    with _no_recording_hooks_left(parts.decoder), editing(edits, len(tokens)):
        values.hidden_states = parts.run(parts.decoder, tokens, output_hidden_states=True).hidden_states
    return values


def _patched(parts: Parts, model: nn.Module, tokens: Tensor) -> Tensor:
    """The last hidden states of the whole model when each input's first block gives what the other's gives."""
    swap = (Point(parts.layers[0].block, before=False), lambda tensor: tensor.flip(0))
    with _no_recording_hooks_left(model), editing([swap], len(tokens)):
        states: tuple[Tensor, ...] = parts.run(model, tokens, output_hidden_states=True).hidden_states
    return states[-1]


def _sites(parts: Parts) -> Iterator[Site]:
    yield Site("embed")
    if parts.pos_embed is not None:
        yield Site("pos_embed")
    for layer, part in enumerate(parts.layers):
        yield from (Site("resid_pre", layer), Site("head", layer, 0), Site("attn_out", layer), Site("mlp_out", layer))
        yield Site("resid_post", layer)
        if part.ln2 is not None:
            yield Site("resid_mid", layer)


def _keep(store: Any, key: Any, device: torch.device) -> Edit:
    def keep(tensor: Tensor) -> None:
        store[key] = tensor.to(device, copy=True)

    return keep


def _identities(parts: Parts, values: _Values) -> Iterator[tuple[str, Tensor, Tensor]]:
    """(what disagrees with what, a value, what it must equal)."""

    def added(site: Site) -> Tensor:
        return values[site] * parts.multipliers.get(site.kind, 1.0)

    embedded = added(Site("embed"))
    if parts.pos_embed is not None:
        embedded = embedded + values[Site("pos_embed")]
    yield "x0.pre differs from the sum of the embeddings", values[Site("resid_pre", 0)], embedded
    for layer, part in enumerate(parts.layers):
        pre, post = values[Site("resid_pre", layer)], values[Site("resid_post", layer)]
        attn, mlp = added(Site("attn_out", layer)), added(Site("mlp_out", layer))
        if post.shape[1] > 1:
            yield f"x{layer}.post changes with tokens to the right", post[1, :-1], post[0, :-1]
        yield f"x{layer}.pre differs from the model's hidden states", pre, values.hidden_states[layer]
        last = layer == len(parts.layers) - 1
        seen = parts.final_norm(post) if last else post  # the last hidden state comes after the final norm
        yield f"x{layer}.post differs from the model's hidden states", seen, values.hidden_states[layer + 1]
        if part.ln2 is not None:
            mid = values[Site("resid_mid", layer)]
            yield f"x{layer}.mid differs from x{layer}.pre + attn{layer}", mid, pre + attn
            yield f"x{layer}.post differs from x{layer}.mid + m{layer}", post, mid + mlp
        yield f"x{layer}.post differs from x{layer}.pre + attn{layer} + m{layer}", post, pre + attn + mlp
        yield from _identities_inside(parts, values, layer)


def _identities_inside(parts: Parts, values: _Values, layer: int) -> Iterator[tuple[str, Tensor, Tensor]]:
    """The same of what is inside attention and MLP."""
    part, pre = parts.layers[layer], values[Site("resid_pre", layer)]
    z = values[Site("head", layer, 0)].view(*pre.shape[:2], parts.n_heads, parts.d_head)
    output = parts.output_weight(layer)
    results = torch.einsum("bphk,hkd->bpd", z.to(output.device), output)
    results = results if part.projection.bias is None else results + part.projection.bias
    projected = values.put_out[layer, "projection"]
    yield f"the sum of the heads of layer {layer} differs from their projection", results, projected
    # The first position attends to nothing but itself, so its z are its values: this tells the heads apart.
    weight, value_bias = parts.value_weight(layer)
    first = torch.einsum("bd,dhk->bhk", part.ln1(pre[:, 0]), weight)
    first = first if value_bias is None else first + value_bias
    yield f"z of the heads of layer {layer} at position 0 differs from their values", z[:, 0], first
    for role, heads in (("query", parts.n_heads), ("key", parts.n_kv_heads), ("value", parts.n_kv_heads)):
        if (n := parts.heads_of(cast(AttentionInput, role), values.put_out[layer, role].shape[-1])) != heads:
            raise _refusal(parts, f"layer {layer} has {n} heads of {role} where the configuration has {heads}")
    if part.down is not None:
        down, mlp = values.put_out[layer, "down"], values[Site("mlp_out", layer)]
        inside = any(module is part.down for module in part.mlp_out.modules())
        yield f"m{layer} differs from what n{layer} is projected to", mlp, down if inside else part.mlp_out(down)


def _effects(parts: Parts, values: _Values, patched: Tensor) -> Iterator[tuple[str, Tensor, Tensor]]:
    """A patch must be felt: what follows the first block is a matter of what that block gives."""
    given = values.hidden_states[-1].flip(0)
    yield "what the model makes of x0.post of another input differs from that input's hidden states", patched, given


@contextmanager
def _no_recording_hooks_left(model: nn.Module) -> Iterator[None]:
    """Take away the hooks that transformers puts on a model for good when its hidden states are first asked for."""
    flag = "_output_capturing_hooks_installed"
    before = {module: set(module._forward_hooks) for module in model.modules()}
    unmarked = [module for module in before if flag not in module.__dict__]
    try:
        yield
    finally:
        for module, hooks in before.items():
            for new in set(module._forward_hooks) - hooks:
                del module._forward_hooks[new]
        for module in unmarked:
            module.__dict__.pop(flag, None)
