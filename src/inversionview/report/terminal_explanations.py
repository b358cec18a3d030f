"""Explanations in a terminal: the words first, then what they are worth."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from inversionview.report.reading import printable
from inversionview.report.terminal_tables import plain_table
from inversionview.results.explanation import ABOUT, DETECTION, GENERATION, Explanations, Score, SiteExplanations


def render_explanations_terminal(document: Explanations, console: Console) -> None:
    """Print each explanation with its scores, and what these are shares of."""
    query = document.query
    console.print(Text(printable(f"{query.site} of {query.input} at {query.role}"), style="bold"))
    for one in document.explanations:
        console.print(Text.assemble((printable(one.words), "bold reverse")))
        if one.expression is not None and one.expression != one.words:
            console.print(Text(printable(one.expression), style="dim"))
        if one.says_nothing:
            console.print(Text(printable(one.says_nothing)))
        table = plain_table("score", "", "floor", "inputs", "", right=(2, 3))
        for name, score in one.scores.items():
            floor = "" if score.floor is None else f"{score.floor:.3f}"
            about = ABOUT.get(name, "")
            table.add_row(name.replace("_", " "), score.shown, floor, f"{score.n:,}", Text(about, style="dim"))
        if one.scores:
            console.print(table)
    if document.cost is not None:
        cost = document.cost
        tokens = f"{cost.prompt_tokens:,} tokens in, {cost.completion_tokens:,} out"
        console.print(Text(f"{cost.requests} requests, {tokens}", style="dim"))
    how = "all inputs were counted" if document.exact else "on inputs on which it was not found; in brackets 95%"
    console.print(Text(f"{document.members:,} members within ε = {document.epsilon:g}; {how}", style="dim"))


def render_sites_terminal(document: SiteExplanations, console: Console) -> None:
    """Print a row for each site."""
    console.print(Text(printable(f"{document.study} at {document.at}"), style="bold"))
    table = plain_table("site", "says", "generation", "floor", "detection", right=(2, 3, 4))
    for one in document.sites:
        generation, detection = one.scores.get(GENERATION), one.scores.get(DETECTION)
        floor = "" if generation is None or generation.floor is None else f"{generation.floor:.3f}"
        table.add_row(one.site, Text(printable(one.words)), _mean(generation), floor, _mean(detection))
    console.print(table)
    about = "scores: means over the activations whose explanation says something; detection: 0.5 is chance"
    console.print(Text(about, style="dim"))


def _mean(score: Score | None) -> str:
    return "" if score is None or score.value is None else f"{score.value:.3f}"
