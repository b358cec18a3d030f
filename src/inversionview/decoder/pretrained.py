"""A decoder whose body is a pretrained language model, which need not learn its language from activations.

The paper starts from GPT-2 Medium to read GPT-2 XL (arXiv 2405.17653, section 5). Activation and site pass through the
same trunk as in `model.py`; a linear map of the result gives each layer of the language model one key and one value.
"""

# No postponed annotations here: PyTorchModelHubMixin reads the type of `config` from the signature.
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import DynamicCache, PreTrainedModel

from inversionview.decoder.backbone import (
    add_lora,
    described,
    finisher,
    load_backbone,
    masks,
    new_backbone,
    prepare,
    slot_shapes,
    unfit,
    weights_fingerprint,
)
from inversionview.decoder.loss import Head
from inversionview.decoder.model import Decoder, DecoderConfig, Norm, Trunk, linear
from inversionview.errors import UserError
from inversionview.files import write_json, write_tensors
from inversionview.shapes import Activations, Positions, Tokens
from inversionview.training.checkpoint import load_module_tensors, module_tensors

KIND = "pretrained"
LORA = "lora_"
"""In the names of all weights that LoRA adds."""


@dataclass
class PretrainedDecoderConfig(DecoderConfig):
    """What such a decoder is; `n_layers` are its backbone's, `d_model` is the condition's width, `n_heads` unused."""

    kind: str = KIND
    backbone: dict[str, Any] = field(default_factory=dict)
    """Configuration of the language model, as transformers writes it."""
    base: str = ""
    """The language model it started from: a folder, or a name on the hub. Needed again with LoRA only."""
    base_fingerprint: str = ""
    """Of that model's weights; with LoRA, another one is refused."""
    lora_rank: int = 0
    """Rank of the matrices that LoRA adds; 0: all weights are trained, and kept."""


class PretrainedDecoder(Decoder):
    """`q(x | z, s)` by a language model that sees the activation through one slot a layer."""

    def __init__(self, config: PretrainedDecoderConfig, backbone: PreTrainedModel) -> None:
        super().__init__(config)
        prepare(backbone, config.max_length)
        self.shapes = slot_shapes(backbone)
        if config.lora_rank:
            add_lora(backbone, config.lora_rank)
        self.backbone = backbone
        self.condition_norm = Norm(config.d_model)
        self.slots = nn.ModuleList(
            nn.Linear(config.d_model, shape.heads * (shape.d_key + shape.d_value), bias=False) for shape in self.shapes
        )
        for layer in self.slots:
            nn.init.normal_(layer.weight, std=0.02)  # type: ignore[arg-type]
        self.register_state_dict_post_hook(_without_frozen)  # type: ignore[no-untyped-call]

    def _make_layers(self, config: DecoderConfig) -> None:
        self.trunk = Trunk(config)

    def train(self, mode: bool = True) -> "PretrainedDecoder":
        """As of any module, but that the backbone never drops anything out: a density must not depend on luck."""
        super().train(mode)
        self.backbone.eval()  # type: ignore[no-untyped-call]
        return self

    def matrix_parameters(self) -> list[nn.Parameter]:
        """The weight matrices that are new; orthogonalised updates would soon make the pretrained ones others."""
        new = [*self.trunk.blocks.parameters(), *self.trunk.input.parameters(), *self.slots.parameters()]
        return [p for p in new if p.ndim == 2]

    def hidden(self, cut: Sequence[Tensor], condition: Tensor) -> Float[Tensor, "flat d_model"]:
        """The last layer's states, normalised, at each token of each group of rows; `condition` has all their rows."""
        conditions = torch.split(condition, [len(part) for part in cut])
        states = [self._run(part, self._slots(c), 0).flatten(0, 1) for part, c in zip(cut, conditions, strict=True)]
        return torch.cat(states)

    def unembed(self, hidden: Float[Tensor, "flat d_model"]) -> Float[Tensor, "flat vocab"]:
        """Logits (fp32) of normalised states, before any constraint."""
        return self.unembedding().logits(hidden.to(self.compute_dtype))

    def unembedding(self) -> Head:
        """What makes logits of normalised states, of the task's tokens alone: a model's table may be longer."""
        head: Any = self.backbone.get_output_embeddings()  # type: ignore[no-untyped-call]
        n = self.config.vocab_size
        finish = finisher(self.backbone.config)
        return Head(head.weight[:n], None if head.bias is None else head.bias[:n], finish)

    def start_cache(self, activations: Activations, site_index: Positions, copies: int = 1) -> DynamicCache:
        """What `step` and `select` take: the backbone's own cache, with the condition's slot in each layer."""
        cache = self._slots(self.trunk(activations, site_index, self.compute_dtype))
        if copies > 1:
            cache.batch_repeat_interleave(copies)
        return cache

    def step(self, tokens: Tokens, cache: Any) -> Float[Tensor, "batch vocab"]:
        """Logits (fp32) after `tokens`, all but the last of which are in the cache; it is written in place."""
        hidden = self._run(tokens[:, -1:], cache, tokens.shape[1] - 1)[:, 0]
        return self.next_logits(hidden, tokens)

    def select(self, cache: Any, rows: Int[Tensor, " chosen"]) -> Any:
        """The cache, in place, of these of its rows; one may be asked for more than once."""
        cache.batch_select_indices(rows)
        return cache

    def cached_numbers(self) -> int:
        """Numbers that a cache holds for each position of a row."""
        return sum(shape.heads * (shape.d_key + shape.d_value) for shape in self.shapes)

    def _slots(self, condition: Float[Tensor, "batch d_condition"]) -> DynamicCache:
        normalised = self.condition_norm(condition)
        return DynamicCache(list(self._slot_pairs(normalised)))

    def _slot_pairs(self, normalised: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        for shape, layer in zip(self.shapes, self.slots, strict=True):
            both = linear(layer, normalised).view(len(normalised), shape.heads, 1, -1)  # type: ignore[arg-type]
            key, value = torch.split(both, [shape.d_key, shape.d_value], dim=-1)
            yield key, value

    def _run(self, tokens: Tokens, cache: DynamicCache, start: int) -> Float[Tensor, "batch pos d_model"]:
        """States of the last layer at `tokens`, which stand from position `start` on, behind what is in the cache."""
        dtype, device, n = self.compute_dtype, tokens.device, tokens.shape[1]
        half = dtype != torch.float32
        with torch.autocast(device.type, dtype=dtype) if half else nullcontext():
            out = self.backbone.base_model(
                input_ids=tokens,
                past_key_values=cache,
                attention_mask=masks(self.backbone.config, start, n, dtype, device),
                position_ids=torch.arange(start, start + n, device=device)[None],
                use_cache=True,
            )
        states: Tensor = out.last_hidden_state
        return states

    def save(self, folder: Path) -> None:
        """Write `config.json` and `model.safetensors` into a folder; with LoRA, without what the base model has."""
        write_json(folder / "config.json", asdict(self.config))
        write_tensors(folder / "model.safetensors", module_tensors(self))


def _without_frozen(module: nn.Module, state: dict[str, Any], prefix: str, _: Any) -> None:
    """Leave out of a state what LoRA leaves as it was, so that checkpoints are as small as what is trained."""
    assert isinstance(module, PretrainedDecoder)
    if isinstance(module.config, PretrainedDecoderConfig) and module.config.lora_rank:
        for name in [name for name in state if name.startswith(f"{prefix}backbone.") and LORA not in name]:
            del state[name]


def new_pretrained_decoder(
    config: DecoderConfig, base: str | Path, model: PreTrainedModel, lora_rank: int = 0
) -> PretrainedDecoder:
    """A decoder on the language model that is called `base`, with new trunk and slots.

    Of `config`, the size of the decoder's own layers is left out. Raises `UserError` where the model does not fit.
    """
    embedding: Any = model.get_input_embeddings()
    has = embedding.weight.shape[0]
    if has < config.vocab_size:
        raise UserError(f"the model {base} has {has} tokens in its vocabulary, and the task needs {config.vocab_size}")
    source = str(Path(base).resolve()) if Path(base).is_dir() else str(base)
    common = {entry.name: getattr(config, entry.name) for entry in fields(config)}
    full = PretrainedDecoderConfig(
        **common | {"n_layers": len(slot_shapes(model))},
        backbone=described(model),
        base=source,
        base_fingerprint=weights_fingerprint(model),
        lora_rank=lora_rank,
    )
    decoder = PretrainedDecoder(full, model)
    check_reads(decoder)
    return decoder


def saved_pretrained_decoder(content: dict[str, Any], tensors: dict[str, Tensor]) -> PretrainedDecoder:
    """The decoder of a `config.json` and its tensors.

    Raises `UserError` where the base of LoRA or the backbone does not fit; TypeError, RuntimeError where these do not.
    """
    config = PretrainedDecoderConfig(**content)
    if config.lora_rank:
        backbone, _ = load_backbone(config.base)
        if weights_fingerprint(backbone) != config.base_fingerprint:
            raise UserError(f"the decoder adds LoRA's weights to the model {config.base}, which has changed since")
    else:
        backbone = new_backbone(config.backbone)
    decoder = PretrainedDecoder(config, backbone)
    try:
        load_module_tensors(decoder, tensors)
    except UserError as error:
        raise RuntimeError(str(error).replace("the checkpoint is", "its weights are")) from error
    return decoder


def check_reads(decoder: PretrainedDecoder) -> None:
    """Raise `UserError` unless every token sees the slot, steps give what a whole pass gives, and the head is plain."""
    try:
        whole, stepped, own = _three_ways(decoder)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise unfit(
            decoder.backbone, f"fails with a slot before its tokens ({' '.join(str(error).split())})"
        ) from error
    if not bool((whole[0] != whole[1]).any(-1).all()):
        raise unfit(decoder.backbone, "does not see a slot given through its cache")
    tolerance = 1e-3 * float(whole.abs().max())
    if (stepped - whole).abs().max() > tolerance:
        raise unfit(decoder.backbone, "does not give the same logits token by token as all at once")
    if (own - whole).abs().max() > tolerance:
        raise unfit(decoder.backbone, "does more with its head's logits than is known here")


@torch.no_grad()
def _three_ways(decoder: PretrainedDecoder) -> tuple[Tensor, Tensor, Tensor]:
    """Logits [2, pos, vocab] of the same tokens with two slots: at once, token by token, and by the backbone's own."""
    config, backbone = decoder.config, decoder.backbone
    tokens = torch.full((2, min(4, config.max_length)), config.begin)
    condition = torch.randn(2, config.d_model, generator=torch.Generator().manual_seed(0))
    n = tokens.shape[1]
    whole = decoder.unembed(decoder.hidden([tokens], condition)).view(2, n, -1)
    cache = decoder._slots(condition)
    stepped = [decoder.unembed(decoder._run(tokens[:, t : t + 1], cache, t)[:, 0]) for t in range(n)]
    own = backbone(
        input_ids=tokens,
        past_key_values=decoder._slots(condition),
        attention_mask=masks(backbone.config, 0, n, torch.float32, tokens.device),
        position_ids=torch.arange(n)[None],
        use_cache=True,
    )
    return whole, torch.stack(stepped, dim=1), own.logits[..., : config.vocab_size]
