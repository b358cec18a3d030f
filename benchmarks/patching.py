"""What patching costs: eight heads cumulatively, forward and in reverse, over 20,000 pairs of sums.

Timed against the plain Hugging Face forwards that this needs at least, one clean, one contrast and sixteen patched, in
the same run; both go block by block in turns, so that what else the machine does meets both.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from time import perf_counter

import torch

from benchmarks.common import Row, addition_model
from inversionview.causal.contrast import Pairs, make_pairs
from inversionview.causal.effects import Configuration, ordered, parse_patch_sites
from inversionview.causal.patching import patch_effects
from inversionview.probed.model import ProbedModel
from inversionview.tasks import get_task

PAIRS, BLOCK = 20_000, 4000
HEADS = ",".join(f"a{layer}.{head}" for layer in range(2) for head in range(4))
AT, TARGET, NEEDED = "=", "A1", 9
"""The target is predicted from index 8: no forward needs more than nine tokens."""


def run(*, quick: bool = False) -> list[Row]:
    """Seconds, and the ratio to plain forwards of whole inputs and of the tokens that are needed."""
    folder, which = addition_model()
    probed = ProbedModel.from_pretrained(folder)
    n, block = (40, 20) if quick else (PAIRS, BLOCK)
    start = perf_counter()
    pairs = make_pairs(get_task("addition"), n, target=TARGET, contrast="change:F1,S1")
    drawing = perf_counter() - start
    wanted = ordered(parse_patch_sites(HEADS, AT), "both")
    patching, whole, cut = _in_turns(probed, pairs, wanted, block)
    detail = (
        f"{which}, {n:,} pairs, which took {drawing:.1f} s to draw, {len(wanted)} configurations, "
        f"{torch.get_num_threads()} threads"
    )
    name = "patching, 8 heads cumulatively both ways"
    return [
        {"name": name, "value": patching, "unit": "s", "detail": detail},
        {"name": name, "value": patching / whole, "unit": "x plain forwards", "target": 1.3,
         "detail": f"of whole inputs, {len(wanted) + 2} forwards, {whole:.1f} s"},
        {"name": f"{name}, needed tokens", "value": patching / cut, "unit": "x plain forwards", "target": 1.3,
         "detail": f"of the first {NEEDED} tokens, {len(wanted) + 2} forwards, {cut:.1f} s"},
    ]  # fmt: skip


def _in_turns(probed: ProbedModel, pairs: Pairs, wanted: list[Configuration], block: int) -> tuple[float, float, float]:
    """Seconds of patching, of plain forwards of whole inputs, and of plain forwards of the tokens that are needed."""
    seconds = [0.0, 0.0, 0.0]
    rows = torch.arange(len(pairs)).split(block)
    for turn, some in enumerate([rows[0], *rows]):  # the first turn warms up
        part = pairs.where(torch.isin(torch.arange(len(pairs)), some))
        jobs: tuple[Callable[[], object], ...] = (
            partial(patch_effects, probed, part, wanted),
            partial(_plain, probed, part, part.clean.shape[1], len(wanted)),
            partial(_plain, probed, part, NEEDED, len(wanted)),
        )
        for i, job in enumerate(jobs):
            start = perf_counter()
            job()
            if turn:
                seconds[i] += perf_counter() - start
    return seconds[0], seconds[1], seconds[2]


@torch.no_grad()
def _plain(probed: ProbedModel, pairs: Pairs, length: int, patched: int) -> None:
    embed = probed.model.get_input_embeddings()  # ids would be searched for padding, with a warning
    for tokens in (pairs.clean, pairs.contrast, *[pairs.clean] * patched):
        probed.model(inputs_embeds=embed(tokens[:, :length].to(probed.device)), use_cache=False).logits  # noqa: B018


if __name__ == "__main__":
    for row in run():
        print(f"{row['name']:55} {row['value']:.3f} {row['unit']}  {row.get('detail', '')}")
