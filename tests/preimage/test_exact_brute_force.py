"""Exact preimages of all 810,000 sums, against nothing but `transformers` and plain tensors.

What `exact_preimages` gives is compared with what is made here: the sums from strings, the activations from the model's
own hidden states and attention, the two metrics, the two rules. One pass over the sums is enough for all cells.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, cycle, product
from pathlib import Path
from queue import Queue
from typing import NamedTuple

import numpy as np
import pytest
import torch
from transformers import GPT2LMHeadModel

from inversionview.criterion import Criterion
from inversionview.preimage.domain import DomainBlock, ModelDomain
from inversionview.preimage.exact import exact_preimages
from inversionview.probed.model import ProbedModel
from inversionview.results.preimage import Preimage, Query
from inversionview.sites import Site
from inversionview.tasks import get_task
from tests.paths import BUNDLED, PAPER_MODELS, SHARED
from tests.preimage.tiny import FewSums, with_criterion

MODEL = BUNDLED / "addition" / "probed"
SYMBOLS = "0123456789B+=E_"
PLACES = {"F2": 2, "S2": 6, "=": 8, "A1": 9, "A4": 12}
SITES = ("x0.pre", "a0.0", "a0.3", "x0.post", "a1.1", "x1.post")
ROUNDING = 1e-5
BLOCK = 1024
TEXTS = ("615+861=1476", "231+456=687", "999+101=1100", "107+893=1000", "500+270=770", "384+577=961", "848+963=1811")


EPSILONS = {"euclidean": (0.1, 0.03, 0.01, 0.003), "cosine": (0.1, 0.005, 0.001, 0.0002)}
SETTINGS = tuple(product(("same", "any"), EPSILONS))
SAME, ANY = SETTINGS[:2], SETTINGS[2:]
IN_TURN = ([SAME[0], ANY[1]], [SAME[1]], [SAME[0]], [SAME[1]], [SAME[0], ANY[0]], [SAME[1]], [SAME[0]], [SAME[1]])
"""Rule `same` at all cells, and `any`, which takes longest, at a quarter of them; the two metrics in turn."""


class Cell(NamedTuple):
    """One query, and how its preimage is asked for."""

    text: str
    role: str
    site: str
    rule: str
    metric: str

    def query(self) -> Query:
        strings = tuple(f"B{self.text}E")
        tokens = tuple(SYMBOLS.index(c) for c in strings)
        return Query("addition", self.text, tokens, strings, PLACES[self.role], self.role, self.site)


def some_cells(sites: Iterable[str], settings: Sequence[Sequence[tuple[str, str]]]) -> list[Cell]:
    """Queries at every site and position: the first in all of the first settings, the next in those of the next."""
    texts, which = cycle(TEXTS), cycle(settings)
    found = []
    for site, role in product(sites, PLACES):
        for rule, metric in next(which):
            text = next(text for text in texts if role != "A4" or len(text) == 12)
            found.append(Cell(text, role, site, rule, metric))
    return found


def all_sums() -> torch.Tensor:
    """Token ids [810000, 14] of `B100+100=200E_` to `B999+999=1998E`."""
    return ids(f"{a}+{b}={a + b}" for a in range(100, 1000) for b in range(100, 1000))


def ids(texts: Iterable[str]) -> torch.Tensor:
    """Token ids [input, 14]."""
    codes = np.zeros(128, dtype=np.int64)
    codes[[ord(c) for c in SYMBOLS]] = range(15)
    letters = "".join(f"B{text}E".ljust(14, "_") for text in texts)
    return torch.from_numpy(codes[np.frombuffer(letters.encode(), dtype=np.uint8)]).view(-1, 14)


def plain_model(path: Path) -> GPT2LMHeadModel:
    # The same function as gelu_new, of which the library's own form takes twice the time of everything else.
    options = {"attn_implementation": "eager", "activation_function": "gelu_pytorch_tanh"}
    model = GPT2LMHeadModel.from_pretrained(path, **options).eval()
    model.transformer.ln_f = torch.nn.Identity()  # the last hidden state is after it, and x1.post before
    return model


def activations(model: GPT2LMHeadModel, tokens: torch.Tensor, sites: tuple[str, ...]) -> dict[str, torch.Tensor]:
    """By site [input, position, 32], as TransformerLens has them after it folds and centres the weights."""
    out = model.transformer(tokens, output_hidden_states=True, output_attentions=True, use_cache=False)
    stream = dict(zip(("x0.pre", "x0.post", "x1.post"), out.hidden_states, strict=True))
    found = {}
    for site in sites:
        if site in stream:
            value = stream[site]
        else:
            layer, head = int(site[1]), int(site[3])
            block, x = model.transformer.h[layer], out.hidden_states[layer]
            n_heads, width = model.config.n_head, model.config.n_embd
            size = width // n_heads
            # Rows of attention add up to 1, so what the biases add is the same everywhere, and left out.
            normed = (x - x.mean(-1, keepdim=True)) / (x.var(-1, unbiased=False, keepdim=True) + 1e-5).sqrt()
            own = slice(head * size, (head + 1) * size)
            values = (normed * block.ln_1.weight) @ block.attn.c_attn.weight[:, 2 * width :][:, own]
            value = out.attentions[layer][:, head] @ values @ block.attn.c_proj.weight[own]
        found[site] = value - value.mean(-1, keepdim=True)
    return found


def apart(z: torch.Tensor, z_q: torch.Tensor, metric: str) -> torch.Tensor:
    if metric == "euclidean":
        return (z - z_q).norm(dim=-1) / z_q.norm()
    return 1 - (z @ z_q) / (z.norm(dim=-1) * z_q.norm())


class Truth:
    """What plain tensors say of one cell, for every input that was run."""

    def __init__(self, cell: Cell, z_q: torch.Tensor, n: int) -> None:
        self.cell, self.z_q = cell, z_q
        self.distance = np.full(n, np.inf, dtype=np.float32)
        self.position = np.full(n, -1, dtype=np.int8)
        self.tied = np.zeros(n, dtype=bool)
        """Whether another position is as near, up to rounding."""

    def see(self, start: int, tokens: torch.Tensor, z: torch.Tensor) -> None:
        to = slice(start, start + len(tokens))
        ends = (tokens == SYMBOLS.index("E")).int().argmax(dim=1)
        if self.cell.rule == "same":
            t = PLACES[self.cell.role]
            d = apart(z[:, t], self.z_q, self.cell.metric).masked_fill(ends <= t, torch.inf)
            self.distance[to], self.position[to] = d, np.where(ends > t, t, -1)
            return
        d = apart(z[:, 1:], self.z_q, self.cell.metric)
        d = d.masked_fill_(torch.arange(1, z.shape[1]) >= ends[:, None], torch.inf)
        nearest, at = d.min(dim=1)
        self.distance[to], self.position[to] = nearest, at + 1
        self.tied[to] = (d < nearest[:, None] + 2 * ROUNDING).sum(dim=1) > 1

    def epsilon(self, most: int) -> float | None:
        """The largest of the metric's that has no more than `most` members, so that memory stays small."""
        fit = (e for e in EPSILONS[self.cell.metric] if (self.distance <= e).sum() <= most)
        return next(fit, None)


@torch.no_grad()
def run(path: Path, cells: list[Cell], tokens: torch.Tensor) -> list[Truth]:
    """One pass over `tokens` for all cells."""
    model, sites = plain_model(path), tuple(dict.fromkeys(cell.site for cell in cells))
    truths = []
    for cell in cells:
        own = activations(model, ids([cell.text])[:, :13], (cell.site,))[cell.site]
        truths.append(Truth(cell, own[0, PLACES[cell.role]], len(tokens)))
    for start in range(0, len(tokens), BLOCK):
        block = tokens[start : start + BLOCK]
        found = activations(model, block[:, :13], sites)  # nothing can match at the last of 14
        for truth in truths:
            truth.see(start, block, found[truth.cell.site])
    return truths


def keys(tokens: np.ndarray) -> np.ndarray:
    """A number that says which sum it is, in the order of the sums."""
    return tokens[:, [1, 2, 3, 5, 6, 7]] @ 10 ** np.arange(6)[::-1]


def check(truth: Truth, epsilon: float, found: Preimage, sums: torch.Tensor) -> None:
    """The same set but for members with |D - ε| < 1e-5, at the same distances and positions."""
    name, known = f"{truth.cell} {epsilon}", keys(sums.numpy())
    members = np.searchsorted(known, keys(found.tokens))
    assert found.inside.all(), name
    assert np.array_equal(sums.numpy()[members], found.tokens), name
    assert len(np.unique(members)) == len(members), name
    missing = np.setdiff1d(np.flatnonzero(truth.distance <= epsilon - ROUNDING), members)
    assert not len(missing), name
    assert (truth.distance[members] < epsilon + ROUNDING).all(), name
    np.testing.assert_allclose(found.distances, truth.distance[members], atol=ROUNDING, rtol=0, err_msg=name)
    assert truth.tied[members[found.positions != truth.position[members]]].all(), name


class Handed:
    """A domain whose blocks are handed over one by one, so that one run serves several callers, each in its thread."""

    def __init__(self) -> None:
        self.queue: Queue[DomainBlock | None] = Queue(maxsize=1)

    def blocks(self, sites, roles) -> Iterator[DomainBlock]:
        return iter(lambda: self.queue.get(timeout=300), None)


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(MODEL, id="bundled"),
        pytest.param(SHARED / PAPER_MODELS[0], id="paper", marks=pytest.mark.published(PAPER_MODELS[0])),
    ],
)
def test_sums_of_some_numbers_at_every_head(path):
    """10,000 inputs, which are also all that `exact_preimages` is to look at."""
    task = FewSums(sorted(random.Random(0).sample(range(100, 1000), 100)))
    sums = all_sums()
    sums = sums[np.isin(keys(sums.numpy()), keys(task.rows.numpy()))]
    heads = tuple(f"a{layer}.{head}" for layer in range(2) for head in range(4))
    truths = run(
        path, some_cells(("x0.pre", *heads, "x0.post", "x1.post"), [[SAME[0], ANY[1]], [SAME[1], ANY[0]]]), sums
    )
    probed = ProbedModel.from_pretrained(path, convention="tl")
    sizes = []
    for rule, metric in SETTINGS:
        here = [truth for truth in truths if truth.cell[-2:] == (rule, metric)]
        limits = [truth.epsilon(most=len(sums)) for truth in here]
        queries = [truth.cell.query() for truth in here]
        preimages = exact_preimages(probed, task, queries, criterion=Criterion.parse(limits, metric, rule))
        for truth, epsilon, found in zip(here, limits, preimages, strict=True):
            check(truth, epsilon, found, sums)
            sizes.append(len(found))
    assert len(sizes) == 110
    assert sum(0 < size < len(sums) for size in sizes) > 50


@pytest.mark.slow
def test_all_sums():
    """Cells of both layers, of which those are left out that have too many members at every ε."""
    sums, task = all_sums(), get_task("addition")
    probed = ProbedModel.from_pretrained(MODEL, convention="tl")
    truths = run(MODEL, some_cells(SITES, IN_TURN), sums)
    limits = [(truth, truth.epsilon(most=120_000)) for truth in truths]
    asked = {setting: [pair for pair in limits if pair[0].cell[-2:] == setting and pair[1]] for setting in SETTINGS}
    assert all(len(pairs) >= 3 for pairs in asked.values())
    assert sum(epsilon == 0.1 for pairs in asked.values() for _, epsilon in pairs) >= 10
    cells = {truth.cell for pairs in asked.values() for truth, _ in pairs}
    assert {cell.site for cell in cells} == set(SITES)
    assert {cell.role for cell in cells} == set(PLACES)

    def exactly(pairs: list[tuple[Truth, float]], domain: Handed | None = None) -> list[Preimage]:
        rule, metric = pairs[0][0].cell[-2:]
        options = {"epsilon": [epsilon for _, epsilon in pairs], "metric": metric, "position_rule": rule}
        return exact_preimages(
            probed, task, [t.cell.query() for t, _ in pairs], **with_criterion(options), domain=domain
        )

    domains = [Handed() for _ in asked]
    with ThreadPoolExecutor(len(asked)) as pool:
        running = pool.map(exactly, asked.values(), domains)
        for block in chain(ModelDomain(probed, task).blocks([Site.parse(site) for site in SITES], None), [None]):
            for domain in domains:
                domain.queue.put(block, timeout=300)
        at_once = list(running)
    for pairs, preimages in zip(asked.values(), at_once, strict=True):
        for (truth, epsilon), found in zip(pairs, preimages, strict=True):
            check(truth, epsilon, found, sums)
    # What a caller does, with a pass of its own; it is short where the operands' digits are enough.
    early = [pair for pair in asked["same", "euclidean"] if pair[0].cell.role in ("F2", "S2")]
    assert len(early) >= 2
    for (truth, epsilon), found in zip(early, exactly(early), strict=True):
        check(truth, epsilon, found, sums)
