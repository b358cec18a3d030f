"""Explanations in a terminal: the words first, then what they are worth."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from inversionview.report.reading import printable
from inversionview.report.terminal_tables import plain_table
from inversionview.report.words import explanations_words
from inversionview.results.explanation import ABOUT
from inversionview.results.explanations import Explanations, SiteExplanations


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
        if one.used is not None:
            console.print(Text.assemble(("used by the model?  ", "bold"), printable(one.used.line)))
    if document.cost is not None:
        cost = document.cost
        tokens = f"{cost.prompt_tokens:,} tokens in, {cost.completion_tokens:,} out"
        console.print(Text(f"{cost.requests} requests, {tokens}", style="dim"))
    how = "all inputs were counted" if document.exact else "on inputs on which it was not found; in brackets 95%"
    part = f" {document.given}" if document.given else ""
    console.print(Text(f"{document.members:,} members{part} within ε = {document.epsilon:g}; {how}", style="dim"))


def render_sites_terminal(document: SiteExplanations, console: Console) -> None:
    """Print a row for each site."""
    words = explanations_words(document)
    console.print(Text(printable(words.heading), style="bold"))
    site, says, _, *names = words.tables["sites"].columns
    table = plain_table(site, says, *names, right=range(2, 2 + len(names)))
    for row in words.tables["sites"].rows:
        site, says, _, *scores = row.cells
        table.add_row(site, Text(printable(says)), *scores)
    console.print(table)
    console.print(Text(words.notes[0], style="dim"))
