"""How long one waits for a reading in the viewer, and what it does when many ask at once.

A server of the bundled addition study answers on the loopback interface, in a process of its own, as `inversionview
serve` starts it. Each query is also read in this process, in turn with the server, so that both meet the same machine.
"""

from __future__ import annotations

import asyncio
import json
import re
import statistics
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import Any

import torch

from benchmarks.common import Row

CANDIDATES, QUERIES, CLIENTS, SECONDS = 1000, 50, 8, 60.0
RATIO, FIRST_SECONDS, FIRST_AT_95 = 1.5, 0.3, 0.6
CROWD = 200
"""Candidates of a reading when many ask."""


def run(*, quick: bool = False) -> list[Row]:
    """Seconds from a question to its first members and to the whole, beside the same in-process; and a crowd."""
    from inversionview.studies.study import load_study

    study = load_study("addition")
    queries = random_queries(study, 3 if quick else QUERIES)
    with serving() as (address, process):
        rows = asyncio.run(waits(address, study, queries))
        return rows + asyncio.run(crowd(address, process, study, queries[:12], 3.0 if quick else SECONDS))


def random_queries(study: Any, n: int) -> list[Any]:
    """Different inputs, each at a position and a site of its own."""
    generator = torch.Generator().manual_seed(0)
    tokens = study.task.sample(n, generator=generator, split="held-out")
    places = torch.randint(1, 13, (n,), generator=generator).tolist()
    sites = torch.randint(len(study.sites), (n,), generator=generator).tolist()
    return [
        study.query(study.task.decode(row), min(place, len(study.task.token_strings(row)) - 2), study.sites[site])
        for row, place, site in zip(tokens, places, sites, strict=True)
    ]


@contextmanager
def serving() -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """The address of a server in a process of its own, and this process."""
    command = [sys.executable, "-u", "-m", "inversionview", "serve", "addition", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            announced = re.search(r"http://\S+/", process.stdout.readline())
            assert announced is not None, "the server did not start"
            yield announced.group(), process
        finally:
            process.terminate()


def body(query: Any, n: int, seed: int) -> dict[str, Any]:
    """The question that the page asks."""
    return {"input": query.input, "at": str(query.position), "site": query.site, "n": n, "seed": seed}


async def events(client: Any, question: dict[str, Any]) -> AsyncIterator[tuple[str, str]]:
    """Names and data of the events of an answer, when they have come."""
    async with client.stream("POST", "/api/studies/addition/read", json=question) as response:
        assert response.status_code == 200, await response.aread()
        name = ""
        async for line in response.aiter_lines():
            if line.startswith("event: "):
                name = line.removeprefix("event: ")
            elif line.startswith("data: "):
                yield name, line.removeprefix("data: ")


async def waits(address: str, study: Any, queries: list[Any]) -> list[Row]:
    """One reading after the other, each in-process and over HTTP in turn; the first of each pays for what is set up."""
    import httpx

    own, first, whole = [], [], []
    async with httpx.AsyncClient(base_url=address, timeout=600, trust_env=False) as client:
        for i, query in enumerate([queries[0], *queries]):
            start = perf_counter()
            study.preimage(query, CANDIDATES, seed=i)
            alone = perf_counter() - start
            start = perf_counter()
            partial = None
            async for name, _ in events(client, body(query, CANDIDATES, i)):
                if name in ("partial", "result") and partial is None:
                    partial = perf_counter() - start
            assert name == "result", name
            if i:
                own.append(alone)
                first.append(partial or 0.0)
                whole.append(perf_counter() - start)
    many = f"{len(queries)} different queries, {CANDIDATES:,} candidates each"
    spread = f"p95 {at95(first):.2f} s; in-process {statistics.median(own):.2f} s, p95 {at95(own):.2f} s; {many}"
    return [
        {"name": "viewer, to the first members", "value": statistics.median(first), "unit": "s",
         "target": FIRST_SECONDS, "detail": spread},
        {"name": "viewer, to the first members, p95", "value": at95(first), "unit": "s", "target": FIRST_AT_95},
        {"name": "viewer, whole reading over HTTP", "value": statistics.median(whole), "unit": "s",
         "detail": f"p95 {at95(whole):.2f} s, coloured and with both documents sent"},
        {"name": "viewer, to the first members, of the same reading in-process",
         "value": statistics.median(a / b for a, b in zip(first, own, strict=True)), "unit": "x", "target": RATIO,
         "detail": "median of the ratios"},
        {"name": "viewer, whole reading, of the same reading in-process",
         "value": statistics.median(a / b for a, b in zip(whole, own, strict=True)), "unit": "x", "target": RATIO,
         "detail": f"median of the ratios; of the 95th percentiles {at95(whole) / at95(own):.2f}x"},
    ]  # fmt: skip


async def crowd(address: str, process: Any, study: Any, queries: list[Any], seconds: float) -> list[Row]:
    """Many clients that ask without a pause; each answer is compared with the one computed alone."""
    import httpx

    alone = {q: study.preimage(q, CROWD, seed=0) for q in queries}
    expected = {q: essence_of(preimage) for q, preimage in alone.items()}
    answered = wrong = failed = 0
    memory: list[float] = []
    end = perf_counter() + seconds

    async def one(client: Any, offset: int) -> None:
        nonlocal answered, wrong, failed
        turn = offset
        while perf_counter() < end:
            # Half are asked by everybody, and so shared or kept; half have seeds that nobody else asks.
            query, seed = queries[turn % len(queries)], 0 if turn % 2 else 1000 * (offset + 1) + turn
            document = None
            async for name, data in events(client, body(query, CROWD, seed)):
                document = json.loads(data) if name == "result" else None
            answered += 1
            failed += document is None
            if document is not None:
                truth = expected[query] if seed == 0 else None
                if truth is None and turn % 8 == 0:  # alone takes as long as the server took: one in four of these
                    checks.append((query, seed, essence(document["document"])))
                elif truth is not None:
                    wrong += essence(document["document"]) != truth
            turn += 1

    async def watch() -> None:
        while perf_counter() < end:
            memory.append(resident(process.pid))
            await asyncio.sleep(1)

    checks: list[tuple[Any, int, Any]] = []
    async with httpx.AsyncClient(base_url=address, timeout=600, trust_env=False) as client:
        await asyncio.gather(watch(), *(one(client, i) for i in range(CLIENTS)))
    for query, seed, answer in checks:
        wrong += answer != essence_of(study.preimage(query, CROWD, seed=seed))
    settled = memory[min(10, len(memory) // 2)]
    detail = f"{answered} answers in {seconds:g} s; {len(checks)} of other seeds compared too"
    return [
        {"name": f"viewer, {CLIENTS} clients at once: errors", "value": failed, "unit": "", "target": 0,
         "detail": detail},
        {"name": f"viewer, {CLIENTS} clients at once: wrong answers", "value": wrong, "unit": "", "target": 0},
        {"name": f"viewer, {CLIENTS} clients at once: answers a second", "value": answered / seconds, "unit": "/s"},
        {"name": f"viewer, {CLIENTS} clients at once: memory, of that after 10 s", "value": memory[-1] / settled,
         "unit": "x", "target": 1.1, "detail": f"{settled:.0f} MiB, then {memory[-1]:.0f} MiB"},
    ]  # fmt: skip


def essence(document: Any) -> Any:
    """What a reading says, without how it was sent."""
    strings = document["strings"]
    return [
        ("".join(strings[i] for i in sample["tokens"]), sample["inside"], sample["count"], sample["distance"],
         sample["colors"])
        for sample in document["samples"]
    ]  # fmt: skip


def essence_of(preimage: Any) -> Any:
    """The same of a reading in this process."""
    from inversionview.report.wire import pack_reading

    return essence(json.loads(json.dumps(pack_reading(preimage.to_reading()))))


def at95(values: list[float]) -> float:
    """95th percentile."""
    return sorted(values)[min(len(values) - 1, round(0.95 * len(values)))]


def resident(pid: int) -> float:
    """MiB of memory that a process holds."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    return 0.0


if __name__ == "__main__":
    from benchmarks.run import main

    main(["viewer", *sys.argv[1:]])
