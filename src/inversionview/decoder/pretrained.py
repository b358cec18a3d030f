"""A body that is a pretrained language model, which need not learn its language from activations.

The paper starts from GPT-2 Medium to read GPT-2 XL (arXiv 2405.17653, section 5). Activation and site pass through the
same trunk as in `model.py`; a linear map of the result gives each layer of the language model one key and one value.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from inversionview.decoder.backbone import (
    SELF,
    add_lora,
    backbone_of,
    described,
    finisher,
    head_of,
    load_backbone,
    masks,
    new_backbone,
    prepare,
    slot_shapes,
    unfit,
    weights_fingerprint,
)
from inversionview.decoder.loss import Head
from inversionview.decoder.model import Condition, Decoder, DecoderConfig, Norm, Trunk, each, linear
from inversionview.decoder.tokens import TokenAdapter
from inversionview.errors import UserError
from inversionview.probed.model import ProbedModel
from inversionview.shapes import Tokens
from inversionview.tasks import Task

if TYPE_CHECKING:
    from transformers import DynamicCache, PreTrainedModel

LORA = "lora_"
"""In the names of all weights that LoRA adds."""


@dataclass
class PretrainedConfig:
    """Which language model a body is; in the decoder's own config `d_model` is then the condition's width."""

    backbone: dict[str, Any] = field(default_factory=dict)
    """Configuration of the language model, as transformers writes it."""
    base: str = ""
    """The language model it started from: a folder, a name on the hub, or `self`. Needed again with LoRA only."""
    base_fingerprint: str = ""
    """Of that model's weights; with LoRA, another one is refused."""
    lora_rank: int = 0
    """Rank of the matrices that LoRA adds; 0: all weights are trained, and kept."""


class PretrainedBody(nn.Module):
    """A language model as a body, which sees the condition through one slot a layer; as `Body` says."""

    def __init__(self, config: PretrainedConfig, decoder: DecoderConfig, backbone: PreTrainedModel) -> None:
        super().__init__()
        self.config = config
        self.written = list(decoder.tokens) or slice(decoder.vocab_size)
        """Rows of the head that are used, by class."""
        prepare(backbone, decoder.max_length)
        self.shapes = slot_shapes(backbone)
        if config.lora_rank:
            add_lora(backbone, config.lora_rank)
        self.backbone = backbone
        self.condition_norm = Norm(decoder.d_model)
        self.slots = nn.ModuleList(
            nn.Linear(decoder.d_model, shape.heads * (shape.d_key + shape.d_value), bias=False) for shape in self.shapes
        )
        for weight in self.slots.parameters():
            nn.init.normal_(weight, std=0.02)
        self.register_state_dict_post_hook(_without_frozen)  # type: ignore[no-untyped-call]

    def train(self, mode: bool = True) -> PretrainedBody:
        """As of any module, but that the backbone never drops anything out: a density must not depend on luck."""
        super().train(mode)
        nn.Module.eval(self.backbone)
        return self

    def hidden(self, parts: Sequence[Tensor], condition: Condition) -> Float[Tensor, "flat d_body"]:
        conditions = torch.split(condition, [len(part) for part in parts])
        pairs = zip(parts, conditions, strict=True)
        return torch.cat([self.run(part, self.start_cache(c), 0, c.dtype).flatten(0, 1) for part, c in pairs])

    def start_cache(self, condition: Condition) -> DynamicCache:
        """The backbone's own cache, with the condition's slot in each layer."""
        from transformers import DynamicCache

        return DynamicCache(list(self._slot_pairs(self.condition_norm(condition))))

    def step(self, tokens: Tokens, cache: DynamicCache, dtype: torch.dtype) -> Float[Tensor, "batch d_body"]:
        return self.run(tokens[:, -1:], cache, tokens.shape[1] - 1, dtype)[:, 0]

    def select(self, cache: DynamicCache, rows: Int[Tensor, " chosen"]) -> DynamicCache:
        cache.batch_select_indices(rows)
        return cache

    def unembedding(self) -> Head:
        head, rows = head_of(self.backbone), self.written
        return Head(head.weight[rows], None if head.bias is None else head.bias[rows], finisher(self.backbone.config))

    def cached_numbers(self) -> int:
        return sum(shape.heads * (shape.d_key + shape.d_value) for shape in self.shapes)

    def matrix_parameters(self) -> list[nn.Parameter]:
        """Those that are new; orthogonalised updates would soon make the pretrained ones others."""
        return list(self.slots.parameters())

    def _slot_pairs(self, normalised: Condition) -> Iterator[tuple[Tensor, Tensor]]:
        for shape, layer in zip(self.shapes, each(self.slots, nn.Linear), strict=True):
            both = linear(layer, normalised).view(len(normalised), shape.heads, 1, -1)
            key, value = torch.split(both, [shape.d_key, shape.d_value], dim=-1)
            yield key, value

    def run(
        self, tokens: Tokens, cache: DynamicCache, start: int, dtype: torch.dtype
    ) -> Float[Tensor, "batch pos d_body"]:
        """States of the last layer at `tokens`, which stand from position `start` on, behind what is in the cache."""
        device, n = tokens.device, tokens.shape[1]
        with torch.autocast(device.type, dtype=dtype) if dtype != torch.float32 else nullcontext():
            out = self.backbone.base_model(
                input_ids=tokens,
                past_key_values=cache,
                attention_mask=masks(self.backbone.config, start, n, dtype, device),
                position_ids=torch.arange(start, start + n, device=device)[None],
                use_cache=True,
            )
        states: Tensor = out.last_hidden_state
        return states


def _without_frozen(body: PretrainedBody, state: dict[str, Tensor], prefix: str, _: object) -> None:
    """Leave out of a state what LoRA leaves as it was, so that checkpoints are as small as what is trained."""
    if body.config.lora_rank:
        for name in [name for name in state if name.startswith(f"{prefix}backbone.") and LORA not in name]:
            del state[name]


def self_decoder(config: DecoderConfig, probed: ProbedModel, lora_rank: int = 0) -> Decoder:
    """A decoder on the probed model itself, whose weights it shares where LoRA is added, and else starts from.

    It writes the tokens that the probed model reads, whether they are text or not. Raises `UserError` for a model that
    cannot be a backbone.
    """
    model = backbone_of(probed, shared=lora_rank > 0)
    return pretrained_decoder(config, SELF, model, lora_rank, fingerprint=probed.fingerprint)


def check_self_decoder(probed: ProbedModel, task: Task, lora_rank: int) -> None:
    """Raise `UserError` where no decoder of a task can be made of the probed model, before anything takes long."""
    small = DecoderConfig(
        sites=("x0.pre",), d_activation=1, vocab_size=task.vocab_size, max_length=task.max_length, begin=task.begin,
        end=task.end, pad=task.pad, d_model=16, trunk_blocks=0,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        self_decoder(small, probed, lora_rank)


def pretrained_decoder(
    config: DecoderConfig,
    base: str | Path,
    model: PreTrainedModel,
    lora_rank: int = 0,
    *,
    adapter: TokenAdapter | None = None,
    fingerprint: str | None = None,
) -> Decoder:
    """A decoder on the language model that is called `base`, with new trunk and slots, on that model's device.

    `fingerprint`: of its weights, where that is known.

    Of `config`, the size of the decoder's own layers is left out. Raises `UserError` where the model does not fit.
    """
    embedding: Any = model.get_input_embeddings()
    has = embedding.weight.shape[0]
    if has < config.vocab_size:
        raise UserError(f"the model {base} has {has} tokens in its vocabulary, and the task needs {config.vocab_size}")
    source = str(Path(base).resolve()) if base != SELF and Path(base).is_dir() else str(base)
    body_config = PretrainedConfig(described(model), source, fingerprint or weights_fingerprint(model), lora_rank)
    config = replace(config, n_layers=len(slot_shapes(model)))
    trunk = Trunk(config)
    body = PretrainedBody(body_config, config, model).to(model.device)
    check_reads(body, config)
    return Decoder(trunk.to(model.device), body, config, adapter=adapter)


def empty_body(config: PretrainedConfig, decoder: DecoderConfig, probed: ProbedModel | None) -> PretrainedBody:
    """The body of a saved decoder, to be filled with its weights; `probed`: the model whose activations it reads.

    Raises `UserError` where the base of LoRA or the backbone does not fit.
    """
    if not config.lora_rank:
        return PretrainedBody(config, decoder, new_backbone(config.backbone))
    if config.base == SELF:
        if probed is None:
            raise UserError("the decoder adds LoRA's weights to the model that it reads, which is needed to load it")
        return PretrainedBody(config, decoder, backbone_of(probed, shared=True))
    backbone, _ = load_backbone(config.base)
    if weights_fingerprint(backbone) != config.base_fingerprint:
        raise UserError(f"the decoder adds LoRA's weights to the model {config.base}, which has changed since")
    return PretrainedBody(config, decoder, backbone)


def check_reads(body: PretrainedBody, config: DecoderConfig) -> None:
    """Raise `UserError` unless every token sees the slot, steps give what a whole pass gives, and the head is plain."""
    try:
        whole, stepped, own = _three_ways(body, config)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise unfit(body.backbone, f"fails with a slot before its tokens ({' '.join(str(error).split())})") from error
    if not bool((whole[0] != whole[1]).any(-1).all()):
        raise unfit(body.backbone, "does not see a slot given through its cache")
    tolerance = 1e-3 * float(whole.abs().max())
    if (stepped - whole).abs().max() > tolerance:
        raise unfit(body.backbone, "does not give the same logits token by token as all at once")
    if (own - whole).abs().max() > tolerance:
        raise unfit(body.backbone, "does more with its head's logits than is known here")


@torch.no_grad()
def _three_ways(body: PretrainedBody, config: DecoderConfig) -> tuple[Tensor, Tensor, Tensor]:
    """Logits [2, pos, vocab] of the same tokens with two slots: at once, token by token, and by the backbone's own."""
    device = body.backbone.device
    tokens = torch.full((2, min(4, config.max_length)), config.begin, device=device)
    condition = torch.randn(2, config.d_model, generator=torch.Generator().manual_seed(0)).to(device)
    n, head = tokens.shape[1], body.unembedding()
    whole = head.logits(body.hidden([tokens], condition)).view(2, n, -1)
    cache = body.start_cache(condition)
    stepped = [head.logits(body.step(tokens[:, : t + 1], cache, torch.float32)) for t in range(n)]
    own = body.backbone(
        input_ids=tokens,
        past_key_values=body.start_cache(condition),
        attention_mask=masks(body.backbone.config, 0, n, torch.float32, tokens.device),
        position_ids=torch.arange(n, device=device)[None],
        use_cache=True,
    )
    return whole, torch.stack(stepped, dim=1), own.logits[..., body.written]
