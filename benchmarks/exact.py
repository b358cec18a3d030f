"""What exactness costs: one query at all sites and positions over the whole domain, a map, a query with an index.

The preimages of one input at all cells are found in one pass, and timed against a plain Hugging Face forward of the
same 810,000 inputs in the same run; both go block by block in turns, so that what else the machine does meets both.
"""

from __future__ import annotations

import resource
import statistics
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

import torch

from benchmarks.common import ROOT, Row, addition_model
from inversionview.criterion import DEFAULT, Criterion
from inversionview.preimage.domain import DomainBlock, ModelDomain
from inversionview.preimage.exact import exact_preimages
from inversionview.probed.model import ProbedModel
from inversionview.sites import Site
from inversionview.studies.study import Study, load_study
from inversionview.studies.verbs.validate import exact_sets, random_cells
from inversionview.tasks import get_task

INPUT = "615+861=1476"
SITES = (
    "x0.pre",
    "a0.0",
    "a0.1",
    "a0.2",
    "a0.3",
    "x0.mid",
    "x0.post",
    "a1.0",
    "a1.1",
    "a1.2",
    "a1.3",
    "x1.mid",
    "x1.post",
)
SIX, FOUR, CELLS = ("a0.0", "a0.3", "x0.post", "a1.0", "a1.3", "x1.post"), ("=", "A1", "A2", "A3"), 240


class _Timed:
    """A domain that runs a plain forward of each block before it is read, and times it."""

    def __init__(self, domain: ModelDomain, blocks: int | None) -> None:
        self.domain, self.limit = domain, blocks
        self.plain = 0.0

    @torch.no_grad()
    def blocks(self, sites: Sequence[Site], roles: Sequence[str] | None) -> Iterator[DomainBlock]:
        model = self.domain.probed.model
        for i, block in enumerate(self.domain.blocks(sites, roles)):
            if i == self.limit:
                return
            start = perf_counter()
            inputs = model.get_input_embeddings()(block.tokens)  # ids would be searched for padding, with a warning
            model(inputs_embeds=inputs, use_cache=False).logits  # noqa: B018
            self.plain += perf_counter() - start
            yield block


def run(*, quick: bool = False) -> list[Row]:
    """Seconds and ratios, each beside its target."""
    folder, which = addition_model()
    task = get_task("addition")
    probed = ProbedModel.from_pretrained(folder, convention="tl")
    rows = _one_query(probed, task, which, quick)
    rows += _index(quick)
    rows += _map(probed, task, which, quick)
    rows += _sizes(quick)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 2**30
    return [*rows, {"name": "exact, peak memory of all of this", "value": peak, "unit": "GiB", "target": 4.0}]


def _one_query(probed: ProbedModel, task: Any, which: str, quick: bool) -> list[Row]:
    study = Study(probed, task, name="addition")
    queries = [study.query(INPUT, at, site) for site in SITES for at in task.roles]
    timed = _Timed(ModelDomain(probed, task), 2 if quick else None)
    start = perf_counter()
    preimages = exact_preimages(probed, task, queries, criterion=Criterion.parse(0.1), domain=timed)
    spent = perf_counter() - start - timed.plain
    members = statistics.median(len(preimage) for preimage in preimages)
    detail = (
        f"{which}, rule same, {len(queries)} cells of {INPUT}, {spent:.0f} s against {timed.plain:.0f} s, median of "
        f"{members:,.0f} members, {torch.get_num_threads()} threads"
    )
    return [
        {"name": "exact, all cells of one input", "value": spent / timed.plain, "unit": "x plain forward",
         "target": 2.0, "detail": detail},
        {"name": "exact, all cells of one input", "value": spent, "unit": "s"},
    ]  # fmt: skip


def _index(quick: bool) -> list[Row]:
    if quick:
        return []
    study = load_study("addition")
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        start = perf_counter()
        study.exact_preimage(study.query(INPUT, "=", "a0.2"), index=folder)
        rows.append(
            {"name": "exact, first query with an index, which is made", "value": perf_counter() - start, "unit": "s"}
        )
        size = sum(file.stat().st_size for file in Path(folder).rglob("*") if file.is_file())
        rows.append({"name": "exact, index of one site", "value": size / 1e6, "unit": "MB"})
        for rule in ("same", "any"):
            seconds, sizes = [], []
            for text in ("234+567=801", "738+164=902", "450+321=771", "862+915=1777", "506+707=1213"):
                query = study.query(text, "=", "a0.2")
                start = perf_counter()
                preimage = study.exact_preimage(query, index=folder, position_rule=rule)
                seconds.append(perf_counter() - start)
                sizes.append(len(preimage))
            detail = f"a0.2 at =, bits about all features too, median of 5, {min(sizes):,} to {max(sizes):,} members"
            name, median = f"exact, a further query with the index, rule {rule}", statistics.median(seconds)
            rows.append({"name": name, "value": median, "unit": "s", "target": 1.0, "detail": detail})
    return rows


def _map(probed: ProbedModel, task: Any, which: str, quick: bool) -> list[Row]:
    if quick:
        return []
    start = perf_counter()
    a_map = Study(probed, task, name="addition").map(sites=SITES)
    detail = f"{which}, {len(a_map.cells)} cells, 100 queries each, {torch.get_num_threads()} threads"
    seconds = perf_counter() - start
    return [{"name": "map", "value": seconds / 60, "unit": "minutes", "target": 15.0, "detail": detail}]


def _sizes(quick: bool) -> list[Row]:
    """How large preimages are on the paper's model."""
    folder = ROOT.parent / "shared" / "models" / "paper_addition"
    if quick or not folder.is_dir():
        return []
    study = load_study("addition").with_model(folder, convention="tl")
    generator = torch.Generator().manual_seed(0)
    cells = random_cells(study.task, SIX, CELLS, study.name, generator)
    queries = [study.query(cell.input, FOUR[i // len(SIX) % len(FOUR)], cell.site) for i, cell in enumerate(cells)]
    sizes = sorted(int(truth.inside.sum()) for truth in exact_sets(study.probed, study.task, queries, DEFAULT))
    detail = f"paper_addition, tl, rule same, ε 0.1, {len(sizes)} random cells: {', '.join(SIX)} at {', '.join(FOUR)}"
    return [
        {"name": f"preimage size, {name}", "value": float(value), "unit": "inputs", "detail": detail}
        for name, value in (("least", sizes[0]), ("median", statistics.median(sizes)), ("most", sizes[-1]))
    ]
