"""Which tokens can come next in an input of character counting."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from inversionview.shapes import NextTokens, Tokens
from inversionview.tasks.counting.rows import BAR, BEGIN, COLON, END, KINDS, LETTERS, MOST, ONE, PAD

_VOCAB = PAD + 1


def next_tokens(tokens: Tokens) -> NextTokens:
    """Tokens [batch, pos, vocab] with which the beginning up to each position can go on; see `Constrained`."""
    spread = torch.arange(tokens.shape[1], device=tokens.device)
    after_bar = (tokens == BAR).cumsum(dim=1) > 0
    bar = torch.where(after_bar.any(dim=1), after_bar.long().argmax(dim=1), tokens.shape[1])[:, None]
    since = torch.where(after_bar, spread - bar, -1)
    letter = torch.where((tokens < ONE) & ~after_bar & (spread > 0), tokens, len(LETTERS))
    counts = F.one_hot(letter, len(LETTERS) + 1)[..., :-1].cumsum(dim=1)
    asked = tokens.gather(1, (bar + 1).clamp(max=tokens.shape[1] - 1)).clamp(max=len(LETTERS) - 1)
    answer = ONE - 1 + counts.gather(2, asked[:, None].expand(-1, counts.shape[1], -1))
    whole, some = (counts > 0).sum(dim=2, keepdim=True) == KINDS, counts > 0
    before = since[..., None] < 0
    possible = torch.zeros(*tokens.shape, _VOCAB, dtype=torch.bool, device=tokens.device)
    possible[..., : len(LETTERS)] = (before & (counts < MOST) & (some | ~whole)) | ((since == 0)[..., None] & some)
    possible[..., BAR] = (before & whole)[..., 0]
    possible[..., COLON] = since == 1
    possible |= (since == 2)[..., None] & (torch.arange(_VOCAB, device=tokens.device) == answer)
    possible[..., END] = since == 3
    taken = possible[:, :-1].gather(2, tokens[:, 1:, None])[..., 0]
    is_beginning = torch.cat([tokens[:, :1] == BEGIN, taken], dim=1).cumprod(dim=1).bool() & (since < 4)
    return possible | ~is_beginning[..., None]
