"""The section of a study's page on several seeds: which claims hold of how many, and which model is shipped.

It is made of `research/results/seeds-TASK.json`, which `research/seeds.py` writes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from research import markdown
from research.claims import Claim
from research.documents import Document, load
from research.paths import RESULTS

PAPERS, MUON = "the paper's way", "Muon"
WAYS = {"": PAPERS, "-muon": MUON}
"""How a probed model is trained, by what the name of its recipe adds to the task's."""
ENOUGH = {"addition": 0.98, "counting": 0.995}
"""Of held-out inputs, what a model must have right to be shipped: what the paper's has, rounded down."""


def section(task: str, claims: Sequence[Claim], heads: str = "") -> str:
    """The section as Markdown, with what is to be said of heads; nothing where no seed was measured."""
    if not (RESULTS / f"{name(task)}.json").is_file():
        return ""
    runs: Document = load(name(task))
    ways = {way: of_way for added, way in WAYS.items() if (of_way := runs.get(task + added))}
    of_claims = [
        (claim.says, *(f"{sum(held(run, claim) for run in of_way)} of {len(of_way)}" for of_way in ways.values()))
        for claim in claims
    ]
    of_runs = [
        (way, run["seed"], f"{run['steps']:,}", f"{run['accuracy']:.2%}", f"{agreeing(run)} of {len(claims)}")
        for way, of_way in ways.items()
        for run in of_way
    ]
    taken = chosen(task, ways.get(PAPERS, []))
    none = f"None of the seeds trained {PAPERS} has {ENOUGH[task]:.1%} of held-out inputs right."
    return markdown.page(
        "seeds",
        answer=_answer(task, [run for of_way in ways.values() for run in of_way], len(claims)),
        heads=heads,
        enough=f"{ENOUGH[task]:.1%}",
        claims=markdown.table(("the claim", *ways), of_claims),
        runs=markdown.table(("trained", "seed", "steps", "held-out inputs right", "claims that agree"), of_runs),
        chosen=none if taken is None else f"By this rule it is seed {taken['seed']}.",
        task=task,
    )


def _answer(task: str, runs: Sequence[Any], claims: int) -> str:
    """Whether training finds the paper's circuit each time, in a sentence."""
    agree = sorted(agreeing(run) for run in runs if run["accuracy"] >= ENOUGH[task])
    if not agree:
        return "No model that was trained has learnt the task."
    between = f"{agree[0]}" if agree[0] == agree[-1] else f"between {agree[0]} and {agree[-1]}"
    learnt = (
        f"{len(agree)} of {len(runs)} models learnt the task (at least {ENOUGH[task]:.1%} of held-out inputs right)"
    )
    return f"{learnt}; on each of these, {between} of {claims} claims agree."


def chosen(task: str, runs: Sequence[Any]) -> Any | None:
    """The run whose model is to be shipped: of those right often enough, the median by claims that agree.

    Of an even number the lower one of the two in the middle; of equals, what is right most often. None: none is enough.
    """
    enough = sorted(
        (run for run in runs if run["accuracy"] >= ENOUGH[task]),
        key=lambda run: (agreeing(run), run["accuracy"], -run["seed"]),
    )
    if not enough:
        return None
    middle = agreeing(enough[(len(enough) - 1) // 2])
    return [run for run in enough if agreeing(run) == middle][-1]


def held(run: Any, claim: Claim) -> bool:
    """Whether a claim agrees with a run's model."""
    return not run["claims"][claim.says]


def agreeing(run: Any) -> int:
    """How many claims agree with a run's model."""
    return sum(not failed for failed in run["claims"].values())


def name(task: str) -> str:
    """The document of a task's seeds."""
    return f"seeds-{task}"
