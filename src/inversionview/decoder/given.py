"""A bank as what a decoder is trained from: its training inputs, at every position that may be read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from inversionview.bank.bank import Bank
from inversionview.bank.passes import read_vectors
from inversionview.errors import UserError
from inversionview.probed.model import ProbedModel
from inversionview.shapes import Tokens
from inversionview.sites import Site
from inversionview.tasks.base import Task
from inversionview.tasks.positions import every_role


class Given(NamedTuple):
    """Inputs that were run already, and the coordinates of all sites, side by side, at each position."""

    tokens: Tokens
    vectors: Float[Tensor, "batch pos coord"]


def given_by(bank: Bank, probed: ProbedModel, task: Task, sites: Sequence[Site], most: int) -> Given:
    """The training inputs of a bank, `most` at most, with what it holds of them.

    Raises `UserError` for a bank that lacks a site or a position that is trained on, or has no training inputs.
    """
    rows = (~task.is_held_out(bank.tokens)).nonzero()[:most, 0]
    if not len(rows):
        raise UserError(f"none of the {len(bank)} inputs of the bank is a training input: make one of split all")
    tokens = bank.tokens[rows]
    lacking = [role for role in every_role(task, tokens) if role not in bank.roles]
    if lacking:
        raise UserError(
            f"the bank was not made at {' '.join(lacking[:4])}, where the decoder is trained too: it holds "
            f"{' '.join(bank.roles)}; make one with --at all"
        )
    padded = F.pad(tokens, (0, task.max_length - tokens.shape[1]), value=task.pad)
    begin = read_vectors(probed, padded[:1], torch.zeros(1, 1, dtype=torch.long), list(sites))
    vectors = torch.cat([_of_site(bank, site, rows, task.max_length) for site in sites], dim=2)
    vectors[:, 0] = torch.cat([begin[site][0, 0] for site in sites])
    return Given(padded, vectors)


def _of_site(bank: Bank, site: Site, rows: Tensor, length: int) -> Float[Tensor, "row pos coord"]:
    whole: Tensor | None = None
    for role in bank.roles:
        read, at = bank.vectors(site, role)[rows], bank.positions(role)[rows]
        if whole is None:
            whole = torch.full((len(rows), length, read.shape[1]), torch.nan)
        has = (at >= 0).nonzero()[:, 0]
        whole[has, at[has]] = read[has]
    assert whole is not None
    return whole
