"""The model that is read: activations captured and replaced at named sites of a Hugging Face causal language model."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import PreTrainedModel

from inversionview.errors import UserError
from inversionview.probed.architectures import Parts, locate
from inversionview.probed.arguments import (
    after_prefix,
    all_sites,
    checked_places,
    checked_positions,
    checked_site,
    checked_tokens,
    checked_value,
)
from inversionview.probed.attention import pattern
from inversionview.probed.batches import run_together, tokens_at_once
from inversionview.probed.conventions import Folded, Raw
from inversionview.probed.conventions import convention as convention_named
from inversionview.probed.fingerprint import fingerprint
from inversionview.probed.hooks import Edit, Point, Stop, arguments_of, as_in_evaluation, editing, lock_of
from inversionview.probed.loading import load
from inversionview.probed.patching import Patch, Write, edits
from inversionview.probed.prefixes import Prefix, PrefixTree, prefix_tree, stem_length
from inversionview.probed.selfcheck import check
from inversionview.probed.taps import Tap, taps
from inversionview.progress import still_wanted
from inversionview.sites import Site

__all__ = ["Patch", "ProbedModel"]

# Tokens and positions are annotated as plain tensors: what is wrong with them is the user's to mend, and checked here.


class _Plan(NamedTuple):
    sites: tuple[Site, ...]
    taps: tuple[Tap, ...]


def _make_plan(
    there_are: tuple[Site, ...], parts: Parts, convention: Raw | Folded, names: tuple[Site | str, ...]
) -> _Plan:
    sites = tuple(dict.fromkeys(checked_site(name, there_are) for name in names))
    return _Plan(sites, taps(sites, parts, convention))


class PrefixActivations(NamedTuple):
    """Activations of a batch of inputs, each distinct prefix once."""

    tree: PrefixTree
    at: dict[Site, dict[int, Tensor]]
    """By site and position t: `[prefix, d_model]`, the rows in the order of `tree.rows[t]`."""


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
        self._head: nn.Linear | None = model.get_output_embeddings()  # type: ignore[no-untyped-call]
        # A vocabulary's logits at positions nobody asked for can be most of a forward. On several devices the model
        # would index with positions that lie on another one than its states.
        takes_some = "logits_to_keep" in inspect.signature(model.forward).parameters
        self._keeps_some = takes_some and len({parameter.device for parameter in model.parameters()}) == 1
        self._fingerprint: tuple[object, str] | None = None
        self.sites = all_sites(self._parts)
        # Of a function that does not hold self: a cycle would keep the model in memory after its last user.
        self._plan = lru_cache(maxsize=256)(partial(_make_plan, self.sites, self._parts, self._convention))
        self.n_layers = len(self._parts.layers)
        self.n_heads = self._parts.n_heads
        self.d_model = self._parts.d_model
        self.vocab_size = self._parts.embed.num_embeddings
        self.max_length = int(self._parts.decoder.config.max_position_embeddings)
        with self._forward():
            check(self._parts)

    @classmethod
    def from_pretrained(
        cls,
        name_or_path: str | Path,
        tokenizer: Any = None,
        convention: str = "raw",
        device: str | torch.device | None = None,
        dtype: str | torch.dtype | None = None,
        *,
        device_map: str | dict[str, Any] | None = None,
    ) -> ProbedModel:
        """A probed model from a folder, or from the hub by its name: the local copy if there is one.

        `tokenizer`: a tokenizer, or the folder or name of one; without it, the one beside the model if there is one.
        `device`: without it, the GPU if there is one. `device_map`, in its place, spreads the layers over several, as
        in transformers: `auto`, or a device by module. `dtype`: without it, as saved. Weights are read from safetensors
        only. Raises UserError when there is no such model, or its files are damaged or of a type that cannot be read.
        """
        model, own_tokenizer = load(name_or_path, tokenizer, device, dtype, device_map=device_map)
        return cls(model, own_tokenizer, convention)

    @property
    def convention(self) -> str:
        """`raw` or `tl`: the form in which activations are read and replaced."""
        return self._convention.name

    @property
    def device(self) -> torch.device:
        """Where the model's embedding lies; tokens are moved there, and activations come from there."""
        return self._parts.embed.weight.device

    @property
    def fingerprint(self) -> str:
        """SHA-256, in hex, of the weights and of what else determines the activations; kept until these change."""
        state = tuple((p.data_ptr(), p._version) for p in self.model.parameters())
        if self._fingerprint is None or self._fingerprint[0] != state:
            self._fingerprint = state, fingerprint(self._parts.decoder, self._head)
        return self._fingerprint[1]

    def site(self, name: Site | str) -> Site:
        """The site of this name. Raises UserError, which names the sites there are, when this model lacks it."""
        return checked_site(name, self.sites)

    def width(self, site: Site | str) -> int:
        """How many numbers an activation at this site has. Raises UserError when the model has no such site."""
        self.site(site)
        return self.d_model

    def capture(
        self, tokens: Tensor, sites: Iterable[Site | str] | Site | str, positions: int | Tensor | None = None
    ) -> dict[Site, Tensor]:
        """The activations of `tokens` at `sites`, by site in the order asked for.

        `tokens`: integers `[batch, pos]`. `positions`: integers `[batch]`, or one index for all inputs. The activations
        are `[batch, pos, d_model]`, or with `positions` `[batch, d_model]`; then no token after an input's position is
        needed, and inputs are run in parts of about one length. Raises UserError for tokens, sites or positions that
        the model does not have.
        """
        plan = self._plan((sites,) if isinstance(sites, (Site, str)) else tuple(sites))
        tokens = checked_tokens(tokens, self._parts)
        at = None if positions is None else checked_positions(positions, tokens)
        batch = tokens.shape[0]
        if not (batch and plan.taps):
            shape = (batch, tokens.shape[1], self.d_model) if at is None else (batch, self.d_model)
            return {site: self._parts.embed.weight.new_empty(shape) for site in plan.sites}
        if at is None:
            return self._run_to(plan, tokens, None)
        found: dict[Site, Tensor] = {}
        for rows, length in run_together(at, tokens_at_once(self.d_model, self.device)):
            part = self._run_to(plan, tokens[rows, :length], at[rows])
            if len(rows) == batch:
                return part
            for site, values in part.items():
                found.setdefault(site, values.new_empty(batch, self.d_model))[rows] = values
        return found

    def _run_to(self, plan: _Plan, tokens: Tensor, at: Tensor | None) -> dict[Site, Tensor]:
        """One forward as far as the deepest site; what `capture` gives of these rows, on the model's first device."""
        batch = tokens.shape[0]
        rows = torch.arange(batch)
        found: dict[Site, Tensor] = {}
        missing = {tap.point for tap in plan.taps}

        def edit(tap: Tap) -> Edit:
            def record(tensor: Tensor) -> None:
                if tensor.shape[0] != batch:  # position embeddings are made once for all inputs
                    tensor = tensor.expand(batch, -1, -1)
                here = tensor if at is None else tensor[rows.to(tensor.device), at.to(tensor.device)]
                found.update(zip(tap.sites, tap.read(here), strict=True))
                missing.discard(tap.point)
                if not missing:
                    raise Stop

            return record

        with self._forward([(tap.point, edit(tap)) for tap in plan.taps]):
            self._parts.run(self._parts.decoder, tokens)
        return {site: found[site].to(tokens.device) for site in plan.sites}

    def capture_prefixes(
        self, tokens: Tensor, sites: Iterable[Site | str] | Site | str, positions: Iterable[int]
    ) -> PrefixActivations:
        """The activations of `tokens` `[batch, pos]` at some positions, computed once for each distinct prefix.

        Neighbours that begin alike are run together up to where they part, which is worth its while for sorted inputs.
        Agrees with `capture` to rounding. Raises UserError as `capture` does.
        """
        plan = self._plan((sites,) if isinstance(sites, (Site, str)) else tuple(sites))
        tokens = checked_tokens(tokens, self._parts)
        wanted = sorted({int(t) for t in positions})
        checked_positions(torch.tensor(wanted, dtype=torch.long), torch.zeros(len(wanted), tokens.shape[1]))
        found: dict[Site, dict[int, Tensor]] = {site: {} for site in plan.sites}
        tree = prefix_tree(tokens[:, : wanted[-1] + 1 if wanted else 0])
        if not (len(tokens) and wanted and plan.taps):
            empty = self._parts.embed.weight.new_empty(0, self.d_model)
            return PrefixActivations(tree, {site: dict.fromkeys(wanted, empty) for site in plan.sites})
        tokens, stem = tokens[:, : wanted[-1] + 1], stem_length(tree)
        options: dict[str, Any] = {}
        if stem:
            first, own = tree.rows[stem - 1], tree.owners[stem - 1]
            keep = {t: own[tree.rows[t]] for t in wanted if t < stem}
            cache = self._record(plan, tokens[first, :stem], keep, 0, found, use_cache=True)
            cache.reorder_cache(own)
            options = {"past_key_values": cache, "use_cache": True}
        keep = {t: tree.rows[t] for t in wanted if t >= stem}
        self._record(plan, tokens[:, stem:], keep, stem, found, **options)
        return PrefixActivations(tree, found)

    def _record(
        self, plan: _Plan, tokens: Tensor, keep: dict[int, Tensor], offset: int,
        found: dict[Site, dict[int, Tensor]], **options: Any,
    ) -> Any:  # fmt: skip
        """Run `tokens`, which begin at position `offset`, read the rows to `keep` of each position; gives the cache."""
        batch = tokens.shape[0]
        missing = {tap.point for tap in plan.taps}
        whole = options.get("use_cache") and not options.get("past_key_values")  # what is run later needs all layers

        def edit(tap: Tap) -> Edit:
            def record(tensor: Tensor) -> None:
                if tensor.shape[0] != batch:  # position embeddings are made once for all inputs
                    tensor = tensor.expand(batch, -1, -1)
                for t, rows in keep.items():
                    here = tensor[:, t - offset] if len(rows) == batch else tensor[rows.to(tensor.device), t - offset]
                    for site, value in zip(tap.sites, tap.read(here), strict=True):
                        found[site][t] = value.to(tokens.device)
                missing.discard(tap.point)
                if not missing and not whole:
                    raise Stop

            return record

        output = None
        with self._forward([(tap.point, edit(tap)) for tap in plan.taps]):
            output = self._parts.run(self._parts.decoder, tokens, **options)
        return None if output is None else output.past_key_values

    def prefix(self, tokens: Tensor) -> Prefix:
        """Run the first tokens `[batch, pos]` of some inputs once, for `logits` of these inputs under many patches.

        A single row `[1, pos]` serves any number of inputs that begin with it. Raises UserError as `capture` does.
        """
        tokens = checked_tokens(tokens, self._parts)
        if not len(tokens):
            return Prefix(tokens, None)
        with self._forward():
            output = self._parts.run(self._parts.decoder, tokens, use_cache=True)
        cache = getattr(output, "past_key_values", None)
        return Prefix(tokens, cache if hasattr(cache, "batch_repeat_interleave") else None)

    def logits(
        self,
        tokens: Tensor,
        patches: Sequence[Patch] = (),
        *,
        positions: int | Tensor | None = None,
        prefix: Prefix | None = None,
    ) -> Tensor:
        """The model's logits, with activations replaced by `patches` (the last wins where two meet at one place).

        `[batch, pos, vocab]`; with `positions`, an index or `[batch]`, only there: `[batch, vocab]`, and with
        `[batch, n]` `[batch, n, vocab]`. `prefix`: the beginning of these inputs as `prefix` ran it, which is not run
        again; logits, patches and positions are then of what comes after, still counted from the first token.
        Raises UserError for tokens, sites, positions or values that do not fit the model.
        """
        if self._head is None:
            raise UserError(
                f"{type(self.model).__name__} has no language modelling head: load it as a causal language model"
            )
        tokens = checked_tokens(tokens, self._parts)
        start = 0 if prefix is None else prefix.fits(tokens)
        writes = [self._write(patch, tokens, start) for patch in patches]
        places = None if positions is None else checked_places(positions, tokens, start)
        batch, rest = len(tokens), tokens[:, start:]
        if not batch:  # the attention of Hugging Face models fails on it
            shape = tuple(rest.shape) if positions is None else tuple(torch.as_tensor(positions).shape) or (0,)
            return self._parts.embed.weight.new_empty(*shape, self._head.out_features)
        options = {} if prefix is None or not start else prefix.options(batch)
        kept = torch.unique(places) if places is not None and self._keeps_some else None
        if kept is not None:
            options["logits_to_keep"] = kept
        with self._forward(edits(writes, batch, self._parts, self._convention)):
            logits: Tensor = self._parts.run(self.model, rest, **options).logits
        if places is None:
            return logits
        columns = places if kept is None else torch.searchsorted(kept, places.contiguous())
        found = logits[torch.arange(batch, device=logits.device)[:, None], columns.to(logits.device)]
        return found if torch.as_tensor(positions).dim() == 2 else found[:, 0]

    def attention(self, tokens: Tensor, layer: int) -> Float[Tensor, "batch head pos pos"]:
        """Attention probabilities of a layer's heads: row p holds what position p attends to, and sums to 1.

        `tokens`: integers `[batch, pos]`. Raises UserError for tokens or layers that the model does not have.
        """
        if layer not in range(self.n_layers):
            raise UserError(f"there is no layer {layer}: this model has layers 0 to {self.n_layers - 1}")
        return self._patterns(tokens, [layer], lambda layer, found: found)[layer]

    def attention_to(self, tokens: Tensor, heads: Sequence[Site | str], position: int = 0) -> dict[Site, Tensor]:
        """How much each of some heads attends to one position, by default the begin token, from every position.

        `tokens`: integers `[batch, pos]`; by head `[batch, pos]`, of all heads from one forward. Raises UserError for
        tokens, a position or heads that the model does not have.
        """
        sites = [checked_site(head, self.sites) for head in heads]
        if wrong := [site for site in sites if site.layer is None or site.head is None]:
            raise UserError(f"{wrong[0]} is no head of this model; heads are written as a0.0")
        if position not in range(tokens.shape[1]):
            raise UserError(f"position {position} is not in inputs of {tokens.shape[1]} tokens")
        layers = sorted({site.layer for site in sites if site.layer is not None})
        found = self._patterns(tokens, layers, lambda layer, pattern: pattern[..., position].contiguous())
        return {site: found[site.layer][:, site.head] for site in sites if site.layer is not None}

    def _patterns(
        self, tokens: Tensor, layers: Sequence[int], keep: Callable[[int, Tensor], Tensor]
    ) -> dict[int, Tensor]:
        """What `keep` keeps of the attention probabilities `[batch, head, pos, pos]` of some layers, in one forward."""
        tokens = checked_tokens(tokens, self._parts)
        attention = [self._parts.layers[layer].attention for layer in layers]
        found: dict[int, Tensor] = {}

        def see(index: int, args: tuple[Any, ...], options: dict[str, Any]) -> None:
            found[layers[index]] = keep(layers[index], pattern(attention[index], args, options, tokens.shape[1]))

        if layers:
            with self._forward(), arguments_of(attention, see):
                self._parts.run(self._parts.decoder, tokens)
        return found

    @contextmanager
    def _forward(self, changes: Iterable[tuple[Point, Edit]] = ()) -> Iterator[None]:
        """A forward as in evaluation, one at a time, with these changes."""
        still_wanted()
        with lock_of(self._parts.decoder), as_in_evaluation(self._modules, self.device), editing(changes):
            yield

    def _write(self, patch: Patch, tokens: Tensor, start: int) -> Write:
        site = checked_site(patch.site, self.sites)
        value = checked_value(patch.value, site, tokens.shape[0], self._parts)
        return Write(site, after_prefix(checked_positions(patch.positions, tokens), start), value)
