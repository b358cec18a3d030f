"""The model that is read: activations captured and replaced at named sites of a Hugging Face causal language model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from inversionview.errors import UserError
from inversionview.probed.architectures import locate
from inversionview.probed.conventions import convention as convention_named
from inversionview.probed.fingerprint import fingerprint
from inversionview.probed.hooks import Edit, Point, Stop, as_in_evaluation, editing, lock_of
from inversionview.probed.loading import load
from inversionview.probed.patching import Patch, Write, checked_value, edits
from inversionview.probed.reading import Tap, taps
from inversionview.shapes import Logits, Positions, Tokens
from inversionview.sites import Site

__all__ = ["Patch", "ProbedModel"]


class _Plan(NamedTuple):
    sites: tuple[Site, ...]
    taps: tuple[Tap, ...]


class ProbedModel:
    """A causal language model whose activations can be read and replaced.

    The model stays the caller's: forwards run as in evaluation (no dropout, no gradients, no autocast) and leave no
    trace on it. One instance may be used from several threads; forwards of one model run one after the other.
    Values do not depend on what stands to the right of a position, so padding needs no mask if it is on the right.
    """

    def __init__(self, model: PreTrainedModel, tokenizer: Any = None, convention: str = "raw"):
        self.model = model
        self.tokenizer = tokenizer
        self._parts = locate(model)
        self._convention = convention_named(convention, self._parts)
        self._modules = tuple(model.modules())
        self._plans: dict[tuple[Site | str, ...], _Plan] = {}
        self.n_layers = len(self._parts.layers)
        self.n_heads = self._parts.n_heads
        self.d_model = self._parts.d_model
        self.vocab_size = int(self._parts.embed.weight.shape[0])
        self.max_length = int(self._parts.decoder.config.max_position_embeddings)

    @classmethod
    def from_pretrained(
        cls,
        name_or_path: str | Path,
        tokenizer: Any = None,
        convention: str = "raw",
        device: str | torch.device | None = None,
        dtype: str | torch.dtype | None = None,
    ) -> ProbedModel:
        """A probed model from a folder, or from the hub by its name: the local copy if there is one.

        `tokenizer`: a tokenizer, or the folder or name of one; without it, the one beside the model if there is one.
        `device`: without it, the GPU if there is one. `dtype`: without it, as saved. Weights are read from safetensors
        only. Raises UserError when there is no such model, or its files are damaged or of a type that cannot be read.
        """
        model, own_tokenizer = load(name_or_path, tokenizer, device, dtype)
        return cls(model, own_tokenizer, convention)

    @property
    def convention(self) -> str:
        """`raw` or `tl`: the form in which activations are read and replaced."""
        return self._convention.name

    @property
    def device(self) -> torch.device:
        """Where the model's embedding lies; tokens are moved there."""
        device: torch.device = self._parts.embed.weight.device
        return device

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256, in hex, of the weights and of what else determines the activations."""
        return fingerprint(self._parts.decoder, self._head)

    @cached_property
    def sites(self) -> tuple[Site, ...]:
        """Every site this model has, in the order of a forward."""
        sites = [Site("embed")] + [Site("pos_embed")] * (self._parts.pos_embed is not None)
        for layer, part in enumerate(self._parts.layers):
            sites += [Site("resid_pre", layer), *(Site("head", layer, head) for head in range(self.n_heads))]
            sites += [Site("attn_out", layer)] + [Site("resid_mid", layer)] * (part.ln2 is not None)
            sites += [Site("mlp_out", layer), Site("resid_post", layer)]
        return tuple(sites)

    def capture(
        self, tokens: Tokens, sites: Iterable[Site | str] | Site | str, positions: int | Positions | None = None
    ) -> dict[Site, Tensor]:
        """The activations of `tokens` at `sites`, by site in the order asked for.

        Each is `[batch, pos, d_model]`, or `[batch, d_model]` at one position of each input with `positions` (`[batch]`,
        or one index for all). Raises UserError for tokens, sites or positions that the model does not have.
        """
        plan = self._plan((sites,) if isinstance(sites, (Site, str)) else tuple(sites))
        tokens = self._checked_tokens(tokens)
        at = None if positions is None else self._checked_positions(positions, tokens)
        if not plan.taps:
            return {}
        batch = tokens.shape[0]
        rows = None if at is None else torch.arange(batch, device=at.device)
        found: dict[Site, Tensor] = {}
        missing = {tap.point for tap in plan.taps}

        def edit(tap: Tap) -> Edit:
            def record(tensor: Tensor) -> None:
                if tensor.shape[0] != batch:  # position embeddings are made once for all inputs
                    tensor = tensor.expand(batch, -1, -1)
                found.update(zip(tap.sites, tap.read(tensor if at is None else tensor[rows, at]), strict=True))
                missing.discard(tap.point)
                if not missing:
                    raise Stop

            return record

        with self._forward([(tap.point, edit(tap)) for tap in plan.taps]):
            self._parts.decoder(tokens, use_cache=False)
        return {site: found[site] for site in plan.sites}

    def logits(self, tokens: Tokens, patches: Sequence[Patch] = ()) -> Logits:
        """The model's logits, with activations replaced by `patches` (the last wins where two meet at one place).

        Raises UserError for tokens, sites, positions or values that do not fit the model.
        """
        if self._head is None:
            raise UserError(
                f"{type(self.model).__name__} has no language modelling head: load it as a causal language model"
            )
        tokens = self._checked_tokens(tokens)
        writes = [self._checked_patch(patch, tokens) for patch in patches]
        with self._forward(edits(writes, tokens.shape[0], self._parts, self._convention)):
            logits: Tensor = self.model(tokens, use_cache=False).logits
        return logits

    @cached_property
    def _head(self) -> nn.Module | None:
        head: nn.Module | None = self.model.get_output_embeddings()
        return head

    @contextmanager
    def _forward(self, changes: Iterable[tuple[Point, Edit]]) -> Iterator[None]:
        with lock_of(self._parts.decoder), as_in_evaluation(self._modules, self.device), editing(changes):
            yield

    def _plan(self, names: tuple[Site | str, ...]) -> _Plan:
        plan = self._plans.get(names)
        if plan is None:
            sites = tuple(dict.fromkeys(self._checked_site(name) for name in names))
            if len(self._plans) > 1000:
                self._plans.clear()
            plan = self._plans[names] = _Plan(sites, taps(sites, self._parts, self._convention))
        return plan

    def _checked_site(self, name: Site | str) -> Site:
        site = Site.parse(name)
        if site not in self.sites:
            raise UserError(f"this {self.model.config.model_type} model has no site {name}: {self._sites_there_are()}")
        return site

    def _sites_there_are(self) -> str:
        first = [site for site in self.sites if site.layer in (None, 0) and site.head in (None, 0)]
        return f"there are {', '.join(map(str, first))}, for layers 0 to {self.n_layers - 1} and heads 0 to {self.n_heads - 1}"

    def _checked_tokens(self, tokens: Tokens) -> Tensor:
        if (
            not isinstance(tokens, Tensor)
            or tokens.dim() != 2
            or tokens.is_floating_point()
            or tokens.dtype == torch.bool
        ):
            raise UserError("tokens must be a tensor of integers [batch, pos]: for one input, tokens[None]")
        if not 0 < tokens.shape[1] <= self.max_length:
            raise UserError(
                f"inputs of {tokens.shape[1]} tokens do not fit this model: it takes 1 to {self.max_length}"
            )
        if tokens.numel():
            lowest, highest = (int(bound) for bound in tokens.aminmax())
            if lowest < 0 or highest >= self.vocab_size:
                wrong = lowest if lowest < 0 else highest
                raise UserError(
                    f"token {wrong} is not in this model's vocabulary: its tokens are 0 to {self.vocab_size - 1}"
                )
        return tokens.to(self.device, torch.long)

    def _checked_positions(self, positions: int | Positions, tokens: Tensor) -> Tensor:
        batch, length = tokens.shape
        at = torch.as_tensor(positions, device=self.device)
        if at.is_floating_point() or at.dtype == torch.bool or at.shape not in ((), (batch,)):
            raise UserError(
                f"positions must be one integer or one for each of the {batch} inputs, not shape {tuple(at.shape)}"
            )
        if at.numel():
            lowest, highest = (int(bound) for bound in at.aminmax())
            if lowest < 0 or highest >= length:
                wrong = lowest if lowest < 0 else highest
                raise UserError(
                    f"position {wrong} is not in inputs of {length} tokens: positions are 0 to {length - 1}"
                )
        return at.expand(batch).long()

    def _checked_patch(self, patch: Patch, tokens: Tensor) -> Write:
        site = self._checked_site(patch.site)
        value = checked_value(patch, site, tokens.shape[0], self.d_model, self._parts.embed.weight)
        return Write(site, self._checked_positions(patch.positions, tokens), value)
