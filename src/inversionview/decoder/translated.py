"""A decoder whose language model has another tokenizer than the task: texts are re-tokenised on the way in and out."""

# No postponed annotations here: PyTorchModelHubMixin reads the type of `config` from the signature.
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from jaxtyping import Float, Int
from torch import Tensor, nn

from inversionview.decoder.model import Decoder, DecoderConfig, RaggedRows
from inversionview.decoder.pretrained import PretrainedDecoder, saved_pretrained_decoder
from inversionview.decoder.translation import Translation
from inversionview.errors import UserError
from inversionview.files import write_json, write_tensors
from inversionview.shapes import Activations, PerPosition, Positions, Tokens
from inversionview.tasks import Task
from inversionview.tasks.vocabulary import Vocabulary
from inversionview.training.checkpoint import module_tensors

KIND = "translated"
_TOKENIZER = "tokenizer"
SPARE = 1.25
"""Room for own tokens: so many times the longest of some inputs."""


class TranslatedDecoder(Decoder):
    """`q(x | z, s)` of a task's rows by a decoder of texts. In training, and as `body`, it speaks its own tokens."""

    def __init__(self, config: DecoderConfig, inner: PretrainedDecoder, translation: Translation) -> None:
        super().__init__(config)
        if config.constrained:
            raise UserError("a decoder with another tokenizer cannot be constrained to the task's tokens")
        self.inner, self.translation = inner, translation

    def _make_layers(self, config: DecoderConfig) -> None:
        """None: `inner` has them."""

    @property
    def trunk(self) -> nn.Module:  # type: ignore[override]
        """The inner decoder's."""
        return self.inner.trunk

    @property
    def body(self) -> Decoder:
        """What samples and scores, in its own tokens."""
        self.inner.compute_dtype = self.compute_dtype
        return self.inner

    def matrix_parameters(self) -> list[nn.Parameter]:
        """The weight matrices that are new."""
        return self.inner.matrix_parameters()

    def forward(
        self,
        tokens: Tokens,
        activations: Activations,
        site_index: Positions,
        ragged: Sequence[RaggedRows] | None = None,
        targets: Int[Tensor, " flat"] | None = None,
    ) -> Float[Tensor, "flat vocab"] | Float[Tensor, ""]:
        """Logits or loss as of any decoder, of rows in its own tokens."""
        found: Tensor = self.body(tokens, activations, site_index, ragged, targets)
        return found

    def token_log_probs(self, tokens: Tokens, activations: Activations, site_index: Positions) -> PerPosition:
        """log q [batch, pos] of the task's rows, in nats, each own token's where it ends; see `Translation.spread`."""
        assert self.translation is not None
        translated = self.translation.to_own(tokens)
        found = self.body.token_log_probs(translated.tokens, activations, site_index)
        return self.translation.spread(found[None], translated, tokens.shape[1])[0]

    def save(self, folder: Path) -> None:
        """Write `config.json`, `model.safetensors` and the language model's tokenizer into a folder."""
        assert self.translation is not None
        write_json(folder / "config.json", {"kind": KIND, "inner": asdict(self.inner.config), **asdict(self.config)})
        write_tensors(folder / "model.safetensors", module_tensors(self.inner))
        self.translation.own.save(folder / _TOKENIZER)


def new_translation(task: Task, tokenizer: Any, samples: Tokens) -> Translation:
    """Between a task of texts and a tokenizer, with room for inputs like these; `UserError` where it has no end."""
    own = Vocabulary(tokenizer)
    theirs = Vocabulary(getattr(task, "tokenizer", None))
    longest = max(len(ids) for ids in own.all_ids([theirs.text(theirs.inner(row)) for row in samples]))
    return Translation(theirs, own, task.max_length, int(SPARE * longest) + 2)


def in_own_tokens(config: DecoderConfig, translation: Translation) -> DecoderConfig:
    """The config of the decoder inside."""
    own = translation.own
    return replace(
        config,
        vocab_size=own.size,
        max_length=translation.own_length,
        begin=own.begin,
        end=own.end,
        pad=own.pad,
    )


def saved_translated_decoder(
    content: dict[str, Any], tensors: dict[str, Tensor], folder: Path, task: Task
) -> TranslatedDecoder:
    """What `save` wrote into a folder, for the task; raises as `saved_pretrained_decoder` does."""
    fields = {name: value for name, value in content.items() if name not in ("kind", "inner")}
    config, inner = DecoderConfig(**fields), saved_pretrained_decoder(content.get("inner", {}), tensors)
    own = Vocabulary.load(folder / _TOKENIZER)
    theirs = Vocabulary(getattr(task, "tokenizer", None))
    return TranslatedDecoder(config, inner, Translation(theirs, own, config.max_length, inner.config.max_length))
