"""Fills a bank of the tiny model: `python -m tests.bank.fill OUT`, or under `torchrun`."""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from inversionview.bank import folder as folders
from inversionview.bank.bank import Bank
from inversionview.bank.making import make_bank
from inversionview.bank.plan import plan_bank
from tests.preimage.tiny import few_sums, probed

SITES, ROLES = ("a0.0", "a1.1", "x1.post"), ("=", "A4")


def fill(out: Path, **options) -> Bank:
    plan = plan_bank(probed(), few_sums(), **{"sites": SITES, "roles": ROLES, "n": 300} | options)
    return make_bank(probed(), few_sums(), plan, out)


if __name__ == "__main__":
    torch.set_num_threads(1)
    folders.SHARD_BYTES = 2**12
    fill(Path(sys.argv[1]))
