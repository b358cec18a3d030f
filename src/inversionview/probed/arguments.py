"""What is asked of a probed model, checked before a forward is spent on it: every mistake is one line."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from inversionview.errors import UserError
from inversionview.probed.parts import Parts
from inversionview.sites import Site


def checked_tokens(tokens: Any, parts: Parts) -> Tensor:
    """Tokens `[batch, pos]` as the model takes them. Raises UserError when it has no such tokens or no such length."""
    longest, vocab_size = parts.decoder.config.max_position_embeddings, parts.embed.num_embeddings
    if not isinstance(tokens, Tensor) or tokens.dim() != 2 or not _is_whole(tokens):
        raise UserError("tokens must be a tensor of integers [batch, pos]; for one input: tokens[None]")
    if not 0 < tokens.shape[1] <= longest:
        raise UserError(f"inputs of {tokens.shape[1]} tokens do not fit this model: it takes 1 to {longest}")
    wrong = _outside(tokens, vocab_size)
    if wrong is not None:
        raise UserError(f"token {wrong} is not in this model's vocabulary: its tokens are 0 to {vocab_size - 1}")
    return tokens.to(parts.embed.weight.device, torch.long)


def checked_positions(positions: Any, tokens: Tensor) -> Tensor:
    """Positions `[batch]` beside the tokens. Raises UserError when they are not in the inputs."""
    batch, length = tokens.shape
    try:
        at = torch.as_tensor(positions, device=tokens.device)
    except (TypeError, ValueError, RuntimeError) as error:
        raise UserError(f"positions must be integers, not {positions!r}") from error
    if not _is_whole(at) or at.shape not in ((), (batch,)):
        raise UserError(f"positions must be an integer, or one for each of the {batch} inputs: [{batch}]")
    wrong = _outside(at, length)
    if wrong is not None:
        raise UserError(f"position {wrong} is not in inputs of {length} tokens: positions are 0 to {length - 1}")
    return at.long().expand(batch)


def checked_at(positions: Any, tokens: Tensor) -> Tensor:
    """Positions `[batch]`, or `[batch, n]` where so many of each input are given. Raises UserError."""
    several = isinstance(positions, Tensor) and positions.dim() == 2
    return checked_places(positions, tokens, 0) if several else checked_positions(positions, tokens)


def checked_places(positions: Any, tokens: Tensor, start: int) -> Tensor:
    """Positions `[batch, n]`, counted from `start`, of `[batch]`, `[batch, n]` or one index. Raises UserError."""
    try:
        given = torch.as_tensor(positions, device=tokens.device)
    except (TypeError, ValueError, RuntimeError) as error:
        raise UserError(f"positions must be integers, not {positions!r}") from error
    columns = given.unbind(1) if given.dim() == 2 else (given,)
    places = torch.stack([checked_positions(column, tokens) for column in columns], dim=1)
    return after_prefix(places, start)


def after_prefix(positions: Tensor, start: int) -> Tensor:
    """Positions counted from `start`. Raises UserError for one before it."""
    if start and positions.numel() and int(positions.min()) < start:
        raise UserError(
            f"position {int(positions.min())} comes before position {start}, from which on inputs are rerun"
        )
    return positions - start


def checked_rows(rows: Any, batch: int) -> Tensor:
    """Some rows of a batch `[row]`. Raises UserError unless they are distinct rows that there are."""
    if not isinstance(rows, Tensor) or rows.dim() != 1 or not _is_whole(rows):
        raise UserError("the rows of a patch must be a tensor of integers [row]")
    if _outside(rows, batch) is not None or len(torch.unique(rows)) != len(rows):
        raise UserError(f"the rows of a patch must be distinct ones of 0 to {batch - 1}")
    return rows.long()


def checked_of(of: Any, tokens: Tensor, vocab_size: int) -> Tensor:
    """Tokens `[batch, some]` whose logits are wanted. Raises UserError where the vocabulary lacks them."""
    if not isinstance(of, Tensor) or of.dim() != 2 or len(of) != len(tokens) or not _is_whole(of):
        raise UserError(f"the tokens whose logits are wanted must be integers [batch, some] for {len(tokens)} inputs")
    wrong = _outside(of, vocab_size)
    if wrong is not None:
        raise UserError(f"there is no logit of token {wrong}: the model's are of 0 to {vocab_size - 1}")
    return of.to(tokens.device, torch.long)


def checked_value(given: Any, site: Site, width: int, batch: int, like: Tensor) -> Tensor:
    """A patch's value, of the type and on the device of `like`. Raises UserError when its shape does not fit."""
    value: Tensor = torch.as_tensor(given).detach()
    if value.shape not in ((width,), (batch, width)):
        raise UserError(
            f"the value of the patch at {site} has shape {tuple(value.shape)}: "
            f"it must be ({width},) or ({batch}, {width})"
        )
    return value.to(like)


def _is_whole(tensor: Tensor) -> bool:
    return not (tensor.is_floating_point() or tensor.is_complex() or tensor.dtype == torch.bool)


def _outside(tensor: Tensor, end: int) -> int | None:
    if not tensor.numel():
        return None
    lowest, highest = (int(bound) for bound in tensor.aminmax())
    return lowest if lowest < 0 else highest if highest >= end else None
