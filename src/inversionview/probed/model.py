"""The model that is read: activations captured and replaced at named sites of a Hugging Face causal language model."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from inversionview.errors import UserError
from inversionview.probed.access import ACCESS, all_sites, checked_site, note_of
from inversionview.probed.architectures import Architecture
from inversionview.probed.arguments import (
    after_prefix,
    checked_at,
    checked_of,
    checked_places,
    checked_positions,
    checked_rows,
    checked_tokens,
    checked_value,
)
from inversionview.probed.attention import pattern
from inversionview.probed.batches import run_together, tokens_at_once
from inversionview.probed.conventions import Folded, Raw
from inversionview.probed.conventions import convention as convention_named
from inversionview.probed.fingerprint import fingerprint
from inversionview.probed.gpt2 import GPT2
from inversionview.probed.hooks import Edit, Point, Stop, arguments_of, as_in_evaluation, eagerly, editing, lock_of
from inversionview.probed.loading import Loading, checked_live, load
from inversionview.probed.parts import Parts, locate, uncompiled
from inversionview.probed.patching import Patch, Write, edits
from inversionview.probed.prefixes import PrefixTree, prefix_tree, stem_length
from inversionview.probed.rerun import CleanRun, Instead, from_layer, only_tokens, recording, running
from inversionview.probed.selfcheck import check
from inversionview.probed.site_groups import select
from inversionview.probed.taps import Tap, taps
from inversionview.probed.views import Map, View, origin, view
from inversionview.progress import still_wanted
from inversionview.sites import VIEW, Site

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["Patch", "ProbedModel"]

# Tokens and positions are annotated as plain tensors: what is wrong with them is the user's to mend, and checked here.


class _Plan(NamedTuple):
    sites: tuple[Site, ...]
    taps: tuple[Tap, ...]


def _make_plan(
    parts: Parts, convention: Raw | Folded, views: Mapping[str, View], names: tuple[Site | str, ...]
) -> _Plan:
    sites = tuple(dict.fromkeys(_site(name, parts, views) for name in names))
    return _Plan(sites, taps(sites, parts, convention, views))


def _site(name: Site | str, parts: Parts, views: Mapping[str, View]) -> Site:
    if isinstance(name, str) and name in views:
        return Site(VIEW, name=name)
    site = Site.parse(name)
    return site if site.name in views else checked_site(site, parts, views)


class PrefixActivations(NamedTuple):
    """Activations of a batch of inputs, each distinct prefix once."""

    tree: PrefixTree
    at: dict[Site, dict[int, Tensor]]
    """By site and position t: `[prefix, width]`, the rows in the order of `tree.rows[t]`."""


class ProbedModel:
    """A causal language model whose activations can be read and replaced.

    The model stays the caller's: forwards run as in evaluation (no dropout, no gradients, no autocast) and leave no
    trace on it. One instance may be used from several threads; forwards of one model run one after the other.
    Values do not depend on what stands to the right of a position, so padding needs no mask if it is on the right.
    """

    def __init__(
        self,
        model: PreTrainedModel | GPT2,
        tokenizer: Any = None,
        convention: str = "raw",
        *,
        architecture: Architecture | None = None,
        checked: bool = True,
    ):
        """`architecture`: where the model keeps its parts, by default the row of the table for its type; `checked`:
        whether the self-check runs now, or before the first forward, which has to read the weights anyway.
        """
        self.model = model = uncompiled(model)
        checked_live(model)
        self.tokenizer = tokenizer
        self._parts = locate(model, architecture)
        self._convention = convention_named(convention, self._parts)
        self._modules = tuple(model.modules())
        self._blocks = tuple(layer.block for layer in self._parts.layers)
        self._head: nn.Linear | None = uncompiled(model.get_output_embeddings())
        # A vocabulary's logits at positions nobody asked for can be most of a forward. On several devices the model
        # would index with positions that lie on another one than its states.
        takes_some = "logits_to_keep" in inspect.signature(model.forward).parameters
        self._keeps_some = takes_some and len({parameter.device for parameter in model.parameters()}) == 1
        self._fingerprint: tuple[object, str] | None = None
        self.sites = all_sites(self._parts)
        # Of a function that does not hold self: a cycle would keep the model in memory after its last user.
        self._views: dict[str, View] = {}
        self._plan = lru_cache(maxsize=256)(partial(_make_plan, self._parts, self._convention, self._views))
        self.n_layers = len(self._parts.layers)
        self.n_heads = self._parts.n_heads
        self.d_model = self._parts.d_model
        self.vocab_size = self._parts.embed.num_embeddings
        self.max_length = int(self._parts.decoder.config.max_position_embeddings)
        self._is_checked = False
        if checked:
            self._check()

    def _check(self) -> None:
        """Compare the sites with each other and with the model's own values, once. Raises UserError that says where."""
        with self._undisturbed():
            check(self._parts, self.model)
        self._is_checked = True

    @classmethod
    def from_pretrained(
        cls,
        name_or_path: str | Path,
        tokenizer: Any = None,
        revision: str | None = None,
        convention: str = "raw",
        device: str | torch.device | None = None,
        dtype: str | torch.dtype | None = None,
        *,
        begin: str | None = None,
        base: str | Path | None = None,
        device_map: str | dict[str, Any] | None = None,
    ) -> ProbedModel:
        """A probed model from a folder, a `.gguf` file, or the hub by its name: the local copy if there is one.

        `tokenizer`: a tokenizer, or the folder or name of one; without it, the one beside the model if there is one.
        `revision`: of the hub, a branch, tag or commit. `device`: without it, the GPU if there is one. `device_map`, in
        its place, spreads the layers over several, as in transformers: `auto`, or a device by module. `dtype`: without
        it, as saved; of GGUF float32. `begin`: the token that stands before a text, in place of the tokenizer's own.
        Of an adapter's folder (PEFT) the adapter is merged into `base`, by default the model that it names. Weights are
        read from safetensors and GGUF only. Raises UserError when there is no such model, or its files are damaged or
        of a type that cannot be read.
        """
        how = Loading(revision, base, begin, device, dtype, device_map)
        model, own_tokenizer = load(name_or_path, tokenizer, how)
        return cls(model, own_tokenizer, convention, checked=False)

    @property
    def convention(self) -> str:
        """`raw` or `tl`: the form in which activations are read and replaced."""
        return self._convention.name

    @property
    def device(self) -> torch.device:
        """Where the model's embedding lies; tokens are moved there, and activations come from there."""
        return self._parts.embed.weight.device

    @property
    def dtype(self) -> torch.dtype:
        """The type of numbers that activations are computed in."""
        return self._parts.embed.weight.dtype

    @property
    def fingerprint(self) -> str:
        """SHA-256, in hex, of the weights and of what else determines the activations; kept until these change."""
        state = tuple((p.data_ptr(), p._version) for p in self.model.parameters())
        if self._fingerprint is None or self._fingerprint[0] != state:
            self._fingerprint = state, fingerprint(self._parts.decoder, self._head)
        return self._fingerprint[1]

    def site(self, name: Site | str) -> Site:
        """The site of this name, or the view. Raises UserError, which names the sites there are, when there is none."""
        return _site(name, self._parts, self._views)

    def select_sites(self, names: Iterable[Site | str] | Site | str) -> tuple[Site, ...]:
        """The sites that names stand for, each once: single ones, kinds (`heads`), and layers (`a18-24`, `x2-5`).

        Kinds and layers choose from `sites`; see `site_groups.select`, and for what raises UserError.
        """
        return select(names, self.sites, self.site)

    def find_site(self, name: Site | str) -> Site | None:
        """The site of this name, or None where there is none."""
        try:
            return self.site(name)
        except UserError:
            return None

    def width(self, site: Site | str) -> int:
        """How many numbers an activation at this site has. Raises UserError when the model has no such site."""
        site = self.site(site)
        return self._views[site.name].width if site.name else ACCESS[site.kind].width(self._parts)

    def note(self, site: Site | str) -> str:
        """What to know of a site in this model, in words; empty where its name says all."""
        return note_of(self.site(site), self._parts)

    def add_view(self, name: str, *, of: Site | str, encode: Map, decode: Map | None = None) -> Site:
        """A site of your own, which holds what `encode` makes of another one's activations; gives it.

        `encode`: a matrix `[width of the site, width of the view]`, or a module or a function of `[..., width of the
        site]`, for instance a subspace, the direction of a probe, the latents of a sparse autoencoder. `decode`: the
        way back, likewise; without it the view is read, and not patched. Both see activations in the model's
        convention. Raises UserError when they do not fit, or the name is taken.
        """
        base, site = self.site(of), Site(VIEW, name=name)
        try:
            taken: Site | None = Site.parse(name)
        except UserError:
            taken = None
        new = view(base, self.width(base), encode, decode, self._parts.embed.weight)
        if taken or (name in self._views and self._views[name].digest() != new.digest()):
            raise UserError(f"{name} is another site of this model already: give the view another name")
        self._views.setdefault(name, new)
        return site

    def fingerprint_of(self, sites: Iterable[Site | str]) -> str:
        """The fingerprint of the model and of the views among some sites; without views, the model's own."""
        names = sorted({site.name for site in map(self.site, sites) if site.name})
        digests = [
            f"{name} {step.digest()}" for name in names for step in origin(Site(VIEW, name=name), self._views)[1]
        ]
        return (
            hashlib.sha256(" ".join([self.fingerprint, *digests]).encode()).hexdigest() if names else self.fingerprint
        )

    def capture(
        self, tokens: Tensor, sites: Iterable[Site | str] | Site | str, positions: int | Tensor | None = None
    ) -> dict[Site, Tensor]:
        """The activations of `tokens` at `sites`, by site in the order asked for.

        `tokens`: integers `[batch, pos]`. `positions`: integers `[batch]` or `[batch, n]`, or one index for all inputs.
        The activations are `[batch, pos, width]`, or with `positions` `[batch, width]` or `[batch, n, width]`; then no
        token after an input's last position is needed, and inputs are run in parts of about one length. Raises
        UserError for tokens, sites or positions that the model does not have.
        """
        plan = self._plan((sites,) if isinstance(sites, (Site, str)) else tuple(sites))
        tokens = checked_tokens(tokens, self._parts)
        at = None if positions is None else checked_at(positions, tokens)
        batch = tokens.shape[0]
        if not (batch and plan.taps):
            shape = (batch, tokens.shape[1]) if at is None else tuple(at.shape)
            return {site: self._parts.embed.weight.new_empty(*shape, self.width(site)) for site in plan.sites}
        if at is None:
            return self._run_to(plan, tokens, None)
        activations: dict[Site, Tensor] = {}
        deepest = at if at.dim() == 1 else at.amax(dim=1)
        for rows, length in run_together(deepest, tokens_at_once(self.d_model, self.device)):
            part = self._run_to(plan, tokens[rows, :length], at[rows])
            if len(rows) == batch:
                return part
            for site, values in part.items():
                activations.setdefault(site, values.new_empty(batch, *values.shape[1:]))[rows] = values
        return activations

    def _run_to(self, plan: _Plan, tokens: Tensor, at: Tensor | None) -> dict[Site, Tensor]:
        """One forward as far as the deepest site; what `capture` gives of these rows, on the model's first device."""
        batch = tokens.shape[0]
        rows = torch.arange(batch) if at is None or at.dim() == 1 else torch.arange(batch)[:, None]
        activations: dict[Site, Tensor] = {}
        missing = {tap.point for tap in plan.taps}

        def edit(tap: Tap) -> Edit:
            def record(tensor: Tensor) -> None:
                if tensor.shape[0] != batch:  # position embeddings are made once for all inputs
                    tensor = tensor.expand(batch, -1, -1)
                here = tensor if at is None else tensor[rows.to(tensor.device), at.to(tensor.device)]
                activations.update(zip(tap.sites, tap.read(here), strict=True))
                missing.discard(tap.point)
                if not missing:
                    raise Stop

            return record

        with self._forward([(tap.point, edit(tap)) for tap in plan.taps], batch):
            self._parts.run(self._parts.decoder, tokens)
        return {site: activations[site].to(tokens.device) for site in plan.sites}

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
        activations: dict[Site, dict[int, Tensor]] = {site: {} for site in plan.sites}
        tree = prefix_tree(tokens[:, : wanted[-1] + 1 if wanted else 0])
        if not (len(tokens) and wanted and plan.taps):
            empty = {site: self._parts.embed.weight.new_empty(0, self.width(site)) for site in plan.sites}
            return PrefixActivations(tree, {site: dict.fromkeys(wanted, empty[site]) for site in plan.sites})
        tokens, stem = tokens[:, : wanted[-1] + 1], stem_length(tree)
        options: dict[str, Any] = {}
        if stem:
            first, own = tree.rows[stem - 1], tree.owners[stem - 1]
            keep = {t: own[tree.rows[t]] for t in wanted if t < stem}
            cache = self._record(plan, tokens[first, :stem], keep, 0, activations, use_cache=True)
            cache.reorder_cache(own)
            options = {"past_key_values": cache, "use_cache": True}
        keep = {t: tree.rows[t] for t in wanted if t >= stem}
        self._record(plan, tokens[:, stem:], keep, stem, activations, **options)
        return PrefixActivations(tree, activations)

    def _record(
        self, plan: _Plan, tokens: Tensor, keep: dict[int, Tensor], offset: int,
        into: dict[Site, dict[int, Tensor]], **options: Any,
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
                        into[site][t] = value.to(tokens.device)
                missing.discard(tap.point)
                if not missing and not whole:
                    raise Stop

            return record

        output = None
        with self._forward([(tap.point, edit(tap)) for tap in plan.taps], batch):
            output = self._parts.run(self._parts.decoder, tokens, **options)
        return None if output is None else output.past_key_values

    def logits(
        self,
        tokens: Tensor,
        patches: Sequence[Patch] = (),
        *,
        positions: int | Tensor | None = None,
        of: Tensor | None = None,
    ) -> Tensor:
        """The model's logits, with activations replaced by `patches` (the last wins where two meet at one place).

        `[batch, pos, vocab]`; with `positions`, an index or `[batch]`, only there: `[batch, vocab]`, and with
        `[batch, n]` `[batch, n, vocab]`. `of`: tokens `[batch, some]` whose logits alone are wanted, in place of the
        vocabulary's, and then in fp32. Raises UserError for tokens, sites, positions or values that do not fit the
        model.
        """
        tokens = checked_tokens(tokens, self._parts)
        return self._logits(tokens, tokens, patches, positions=positions, of=of, start=0, instead={}, options={})

    def clean_run(self, tokens: Tensor, start: int = 0) -> CleanRun:
        """Run some inputs `[batch, pos]` once, for `rerun` of them, which begins at position `start`.

        Kept are the keys and values before `start`, and the residual stream of every layer from there on. Raises
        UserError as `capture` does.
        """
        tokens = checked_tokens(tokens, self._parts)
        if start:
            checked_positions(start, tokens)
        outputs: list[Any] = []
        cache = None
        if start and len(tokens):
            with self._forward():
                output = self._parts.run(self._parts.decoder, tokens[:, :start], use_cache=True)
            cache = getattr(output, "past_key_values", None)
            cache = (
                cache if all(hasattr(part, "batch_select_indices") for part in getattr(cache, "layers", [0])) else None
            )
        run = CleanRun(tokens, start if cache is not None else 0, cache, ())
        if len(tokens):
            options = run.options(torch.arange(len(tokens)), 0)
            with self._forward(instead=recording(self._blocks, outputs)):
                self._parts.run(self._parts.decoder, tokens[:, run.start :], **options)
        return replace(run, outputs=tuple(outputs))

    def rerun(
        self,
        run: CleanRun,
        patches: Sequence[Patch] = (),
        *,
        rows: Tensor | None = None,
        positions: int | Tensor | None = None,
        of: Tensor | None = None,
    ) -> Tensor:
        """What `logits` gives of inputs of a clean run, under patches, with no more run again than these can reach.

        `rows`: which of its inputs, in which order and how often, so that many patches of one input go through the
        model together; by default each once. Positions are counted from the first token; without them, the logits are
        of those from the run's `start` on. Raises UserError as `logits` does, and for positions before that.
        """
        rows = torch.arange(len(run.tokens)) if rows is None else rows
        tokens = run.tokens[rows.to(run.tokens.device)]
        layer = min((self.layer_of(patch.site) for patch in patches), default=self.n_layers)
        instead = from_layer(self._blocks, layer, run, rows)
        return self._logits(
            tokens, tokens[:, run.start :], patches, positions=positions, of=of, start=run.start, instead=instead,
            options=run.options(rows, layer),
        )  # fmt: skip

    def layer_of(self, site: Site | str) -> int:
        """The layer in which a site, or what a view is of, lies; 0 for the embeddings. Raises UserError as `site`."""
        return origin(self.site(site), self._views)[0].layer or 0

    def _logits(
        self, tokens: Tensor, rest: Tensor, patches: Sequence[Patch], *, positions: int | Tensor | None,
        of: Tensor | None, start: int, instead: Instead, options: dict[str, Any],
    ) -> Tensor:  # fmt: skip
        """Logits of `rest`, the tokens from `start` on, by a forward with `options` and some modules replaced."""
        if self._head is None:
            raise self._no_head()
        writes = [self._write(patch, tokens, start) for patch in patches]
        places = None if positions is None else checked_places(positions, tokens, start)
        of = None if of is None else checked_of(of, tokens, self._head.out_features)
        batch = len(tokens)
        if not batch:  # the attention of Hugging Face models fails on it
            shape = tuple(rest.shape) if positions is None else tuple(torch.as_tensor(positions).shape) or (0,)
            return self._parts.embed.weight.new_empty(*shape, self._head.out_features if of is None else of.shape[1])
        kept = torch.unique(places) if places is not None and self._keeps_some else None
        if kept is not None:
            options = {**options, "logits_to_keep": kept}
        wanted = torch.arange(rest.shape[1], device=tokens.device).expand(batch, -1) if places is None else places
        columns = wanted if kept is None else torch.searchsorted(kept, wanted.contiguous())
        # Another class than Linear, as an adapter's, does more than multiply by a weight.
        few = of is not None and type(self._head) is nn.Linear
        if of is not None and few:
            instead = {**instead, **only_tokens(self._head, of, columns)}
        with self._forward(edits(writes, batch, self._parts, self._convention), batch, instead):
            logits: Tensor = self._parts.run(self.model, rest, **options).logits
        if places is not None and not few:
            logits = logits[torch.arange(batch, device=logits.device)[:, None], columns.to(logits.device)]
        if of is not None and not few:
            logits = logits.float().gather(2, of.to(logits.device)[:, None].expand(-1, logits.shape[1], -1))
        return logits[:, 0] if places is not None and torch.as_tensor(positions).dim() < 2 else logits

    def next_logits(self, tokens: Tensor, past: Any = None) -> tuple[Tensor, Any]:
        """Logits `[batch, vocab]` of what follows `tokens` `[batch, pos]`, and the `past` of a call that goes on there.

        `tokens`: with `past`, those after the ones that it was made of. Raises UserError as `logits` does.
        """
        if self._head is None:
            raise self._no_head()
        tokens = checked_tokens(tokens, self._parts)
        with self._forward(batch=len(tokens)):
            output = self._parts.run(self.model, tokens, past_key_values=past, use_cache=True)
        return output.logits[:, -1], output.past_key_values

    def attention(self, tokens: Tensor, layer: int) -> Float[Tensor, "batch head pos pos"]:
        """Attention probabilities of a layer's heads: row p holds what position p attends to, and sums to 1.

        `tokens`: integers `[batch, pos]`. Raises UserError for tokens or layers that the model does not have.
        """
        if layer not in range(self.n_layers):
            raise UserError(f"there is no layer {layer}: this model has layers 0 to {self.n_layers - 1}")
        return self._patterns(tokens, [layer], lambda layer, whole: whole)[layer]

    def attention_to(self, tokens: Tensor, heads: Sequence[Site | str], position: int = 0) -> dict[Site, Tensor]:
        """How much each of some heads attends to one position, by default the begin token, from every position.

        `tokens`: integers `[batch, pos]`; by head `[batch, pos]`, of all heads from one forward. Raises UserError for
        tokens, a position or heads that the model does not have.
        """
        sites = [self.site(head) for head in heads]
        if wrong := [site for site in sites if site.kind != "head"]:
            raise UserError(f"{wrong[0]} is no head of this model; heads are written as a0.0")
        if position not in range(tokens.shape[1]):
            raise UserError(f"position {position} is not in inputs of {tokens.shape[1]} tokens")
        layers = sorted({site.layer for site in sites if site.layer is not None})
        by_layer = self._patterns(tokens, layers, lambda layer, pattern: pattern[..., position].contiguous())
        return {site: by_layer[site.layer][:, site.head] for site in sites if site.layer is not None}

    def _patterns(
        self, tokens: Tensor, layers: Sequence[int], keep: Callable[[int, Tensor], Tensor]
    ) -> dict[int, Tensor]:
        """What `keep` keeps of the attention probabilities `[batch, head, pos, pos]` of some layers, in one forward."""
        tokens = checked_tokens(tokens, self._parts)
        attention = [self._parts.layers[layer].attention for layer in layers]
        patterns: dict[int, Tensor] = {}

        def see(index: int, args: tuple[Any, ...], options: dict[str, Any]) -> None:
            patterns[layers[index]] = keep(layers[index], pattern(attention[index], args, options, tokens.shape[1]))

        if layers:
            with self._forward(), arguments_of(attention, see):
                self._parts.run(self._parts.decoder, tokens)
        return patterns

    def _no_head(self) -> UserError:
        return UserError(
            f"{type(self.model).__name__} has no language modelling head: load it as a causal language model"
        )

    @contextmanager
    def _forward(
        self, changes: Iterable[tuple[Point, Edit]] = (), batch: int = 0, instead: Instead | None = None
    ) -> Iterator[None]:
        """A forward of `batch` inputs as in evaluation, one at a time, with these changes and modules replaced."""
        still_wanted()
        if not self._is_checked:
            self._check()
        with self._undisturbed(), running(instead or {}), editing(changes, batch):
            yield

    @contextmanager
    def _undisturbed(self) -> Iterator[None]:
        """As in evaluation, and one at a time."""
        with lock_of(self._parts.decoder), as_in_evaluation(self._modules, self.device), eagerly():
            yield

    def _write(self, patch: Patch, tokens: Tensor, start: int) -> Write:
        site = self.site(patch.site)
        base, views = origin(site, self._views)
        if any(step.decode is None for step in views):
            raise UserError(f"{site} is a view with no way back, so it cannot be patched: add it with decode=...")
        rows = torch.arange(len(tokens)) if patch.rows is None else checked_rows(patch.rows, len(tokens))
        here = tokens[rows.to(tokens.device)]
        value = checked_value(patch.value, site, self.width(site), len(here), self._parts.embed.weight)
        return Write(base, views, rows, after_prefix(checked_positions(patch.positions, here), start), value)
