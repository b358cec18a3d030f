"""A tiny objective for the loop, and a command that trains it: `python -m tests.training.toy OUT key=value ...`."""

import os
import signal
import sys
import time
from pathlib import Path

import torch
from torch import nn

from inversionview.training import TrainingConfig, train


class Net(nn.Module):
    """Has what the optimisers tell apart: an embedding tied to its head, matrices, biases, and dropout."""

    def __init__(self, dropout=0.0):
        super().__init__()
        self.embed = nn.Embedding(7, 8)
        self.up = nn.Linear(8, 16)
        self.down = nn.Linear(16, 8)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(8, 7, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, tokens):
        hidden = self.embed(tokens)
        return self.head(hidden + self.down(self.dropout(self.up(hidden).relu())))


class Toy:
    """Learns t -> t + step-dependent noise; `after_step` changes what the later batches are, as re-weighting does."""

    def __init__(self, *, seed=0, dropout=0.1, period=4, pause=0.0):
        torch.manual_seed(seed)
        self.module = Net(dropout)
        self.after_step_period = period
        self.shift = 1
        self.pause = pause
        self.seen = []

    def batch(self, step, *, size, rank, world):
        self.seen.append(step)
        self.world = world
        time.sleep(self.pause)
        generator = torch.Generator().manual_seed(1000 + step)
        tokens = torch.randint(7, (size,), generator=generator)
        return tokens.chunk(world)[rank], ((tokens + self.shift) % 7).chunk(world)[rank]

    def loss(self, module, batch):
        tokens, targets = batch
        return nn.functional.cross_entropy(module(tokens), targets)

    def after_step(self, step):
        if step % self.after_step_period:
            return {}
        self.shift = 1 + (step // self.after_step_period) % 2
        return {"shift": float(self.shift), "world": float(self.world)}

    def state_dict(self):
        return {"shift": self.shift}

    def load_state_dict(self, state):
        self.shift = state["shift"]


def config(**changes):
    usual = {"batch_size": 8, "warmup_steps": 5, "log_every": 3, "precision": "fp32"}
    usual |= {} if changes.get("minutes") else {"steps": 30}
    return TrainingConfig(**(usual | {"checkpoint_every_seconds": 1e9} | changes))


def die_while_saving(count):
    """Kill this process just before the folder of its `count`-th checkpoint would be renamed into place."""
    rename, saves = Path.rename, iter(range(1, 10**9))

    def rename_or_die(self, target):
        if next(saves) == count:
            os.kill(os.getpid(), signal.SIGKILL)
        return rename(self, target)

    Path.rename = rename_or_die


def main(out, *settings):
    torch.set_num_threads(1)
    options = {
        key: float(value) if "." in value else int(value) for key, value in (text.split("=") for text in settings)
    }
    die_at = options.pop("die_at", 0)
    toy = Toy(pause=options.pop("pause", 0.0), dropout=options.pop("dropout", 0.1))
    resume = bool(options.pop("resume", 0))
    if die_at:
        die_while_saving(die_at)
    result = train(toy, config(**options), out, resume=resume)
    sys.exit(130 if result.interrupted else 0)


if __name__ == "__main__":
    main(*sys.argv[1:])
