"""What README and docs say is true: their examples run, their commands parse, their links lead somewhere."""

from __future__ import annotations

import re
import shlex
from importlib.util import find_spec

import click
import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

import inversionview
from inversionview.cli import cli
from inversionview.studies.recipes.ioi import small_task
from research import generate, validation
from tests.paths import ROOT

PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s#]*)(?:#([^)\s]+))?\)")
TARGETS = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))

TEXTS = {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in PAGES}


def blocks(text, language):
    return [code for kind, code in FENCE.findall(text) if kind == language]


EXAMPLES = {name: blocks(text, "python") for name, text in TEXTS.items()}
EXAMPLES["inversionview.__doc__"] = blocks(inversionview.__doc__, "python")
COMMANDS = [
    (name, line) for name, text in TEXTS.items() for code in blocks(text, "sh") for line in code.splitlines() if line
]


@pytest.mark.parametrize("page", [name for name, examples in EXAMPLES.items() if examples])
def test_examples_run(page, tmp_path, monkeypatch, capsys):
    """Those of one page one after the other, as a reader would type them, but that what takes minutes is cut short."""
    monkeypatch.chdir(tmp_path)
    if any("my-model" in code for code in EXAMPLES[page]):
        save_model(tmp_path / "my-model")
    names: dict[str, object] = {}
    for i, code in enumerate(EXAMPLES[page], start=1):
        code = re.sub(r"minutes=\d+", "steps=2", code)
        exec(compile(code, f"{page}, example {i}", "exec"), names)


def save_model(folder):
    task = small_task()
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=task.vocab_size, n_positions=16, n_embd=8, n_layer=2, n_head=2)
    GPT2LMHeadModel(config).save_pretrained(folder)
    task.tokenizer.save_pretrained(folder)


def test_there_are_examples_and_commands_to_try():
    assert sum(map(len, EXAMPLES.values())) >= 10
    assert len(COMMANDS) >= 10


@pytest.mark.parametrize(("page", "command"), COMMANDS)
def test_commands_are_ones_that_the_program_takes(page, command):
    words = shlex.split(command)
    if words[0] == "make":
        assert words[1] in TARGETS
    elif words[0] == "pip":
        extras = re.findall(r"\[(.*)\]", words[-1])
        known = (ROOT / "pyproject.toml").read_text()
        assert all(f"\n{extra} = [" in known for names in extras for extra in names.split(","))
    elif words[1:2] == ["-m"] and words[2].startswith("research."):
        assert find_spec(words[2]) is not None
    else:
        given = words[words.index("inversionview") + 1 :]
        program = click.Context(cli, info_name="inversionview", **cli.context_settings)
        cli.commands[given[0]].make_context(given[0], given[1:], parent=program)


@pytest.mark.parametrize("page", TEXTS)
def test_links_lead_somewhere(page):
    for link, anchor in LINK.findall(TEXTS[page]):
        if link.startswith("https://"):
            continue
        target = (ROOT / page).parent / link if link else ROOT / page
        assert target.exists(), f"{page} links to {link}, which is not there"
        if anchor:
            headings = re.findall(r"^#+ (.*)$", target.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in [slug(heading) for heading in headings], f"{link} has no heading #{anchor}"


def slug(heading):
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def test_every_page_is_reached_from_the_readme_and_the_index():
    docs = ROOT / "docs"
    pages = {path.relative_to(docs).as_posix() for path in PAGES if path.is_relative_to(docs)} - {"index.md"}
    for name in ("README.md", "docs/index.md"):
        assert pages <= {link.removeprefix("docs/") for link, _ in LINK.findall(TEXTS[name])}


def test_generated_pages_are_what_the_code_says(capsys):
    assert generate.main(["--check"]) == 0


def test_a_stale_page_is_named_and_can_be_written_again(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(generate, "DOCS", tmp_path)
    assert generate.main(["--check"]) == len(generate.PAGES)
    assert "docs/command-line.md is out of date" in capsys.readouterr().err
    assert generate.main([]) == 0
    assert generate.main(["--check"]) == 0
    assert "--position-rule" in (tmp_path / "command-line.md").read_text(encoding="utf-8")


def cell(at, size, found, distance=0.01):
    """A cell of `inversionview validate --json`; `size` and `found` are truth, value and interval."""
    estimates = {"size, bits": size, "reach, share found": found}
    return {
        "input": "615+861=1476",
        "at": at,
        "site": "a0.3",
        "inside": 900,
        "found": 90,
        "effective_size": 12.34,
        "pareto_k": None,
        "estimates": {
            name: {"truth": t, "value": v, "interval": ends}
            for name, (t, v, ends) in estimates.items()
            if t is not None
        },
        "largest_total_variation": distance,
    }


@pytest.fixture
def validated():
    row = {"cells": 3, "answered": 2, "median_error": 0.25, "kept": True}
    return {
        "study": "addition", "epsilon": 0.1, "metric": "euclidean", "position_rule": "same", "n": 4000,
        "temperatures": [1.0, 2.0], "prior_share": 0.4, "seed": 7,
        "estimators": [
            row | {"estimator": "size", "quantity": "bits", "coverage": 2 / 3, "median_width": 1.25, "unit": "bits",
                   "kept": False},
            row | {"estimator": "reach", "quantity": "share found", "answered": 3, "coverage": 1.0,
                   "median_width": 0.125, "unit": "share"},
        ],
        "marginals": {"pairs": 48, "within_total_variation": 0.8125, "total_variation": 0.05,
                      "median_total_variation": 0.0123, "within_bits": 0.7708, "bits": 0.1, "median_bits_error": 0.03},
        "effective_size": {"least": 12.34, "p10": 20.0, "median": 1234.6, "p90": 5000.0, "most": 1e9},
        "inside": {"least": 1.0, "p10": 2.0, "median": 900.0, "p90": 1000.0, "most": 810000.0},
        "cells": [
            cell("=", (9.75, 9.5, [9.25, 9.5]), (0.5, 0.5, [0.25, 0.75]), 0.07),
            cell("A1", (3.0, None, None), (0.5, 0.5, [0.5, 0.5])),
            cell("A2", (3.0, 2.5, [2.0, None]), (0.5, 0.25, [0.125, 0.5]), 0.5),
        ],
    }  # fmt: skip


def test_the_page_on_the_estimates_tells_what_was_measured(validated):
    page = validation.of(validated)
    assert "| size (bits) | 2 of 3 | 66.7% | 1.25 bits | 0.25 bits | **no** |" in page
    assert "| reach (share found) | 3 of 3 | 100.0% | 0.125 | 0.25 | yes |" in page
    assert "3 random activations of the study `addition`" in page
    assert "in 81.2% the feature's" in page
    assert "| effective size | 12.3 | 20 | 1,235 | 5,000 | over 10⁸ |" in page
    [command] = blocks(page, "sh")
    assert command == (
        "inversionview validate addition --cells 3 -n 4000 --temperatures 1,2 --prior-share 0.4 --seed 7 --json\n"
    )


def test_the_page_on_the_estimates_names_every_target_that_was_missed(validated):
    page = validation.of(validated)
    verdicts = [line.split("|")[-2].strip() for line in targets(page)]
    assert verdicts == ["**missed**", "**missed**", "met", "**missed**"]
    validated["estimators"][0] |= {"coverage": 0.9, "median_width": 1.0}
    validated["marginals"] |= {"within_total_variation": 0.79, "within_bits": 0.9}
    verdicts = [line.split("|")[-2].strip() for line in targets(validation.of(validated))]
    assert verdicts == ["met", "met", "**missed**", "met"]


def targets(page):
    section = page.partition("## The targets")[2].partition("\n## ")[0]
    return [line for line in section.splitlines() if line.startswith("| ")][2:]


def test_the_page_on_the_estimates_lists_the_cells_that_failed(validated):
    section = validation.of(validated).partition("## The cells that failed")[2].partition("\n## ")[0]
    size, reach = section.split("### ")[1:]
    assert size.startswith("Size (bits): 2 of 3")
    none, missed = (line for line in size.splitlines() if line.startswith("| `"))
    assert none == "| `615+861=1476` at `A1`, `a0.3` | 3.000 | none | – | 900 | 90 | 12.3 |"
    assert missed == "| `615+861=1476` at `=`, `a0.3` | 9.750 | 9.500 | 9.250 to 9.500 | 900 | 90 | 12.3 |"
    assert reach.startswith("Reach (share found): 0 of 3")
    assert "|" not in reach


def test_the_page_on_the_estimates_lists_the_worst_samples(validated):
    page = validation.of(validated)
    assert "In 2 of 3 cells some feature is further off. The worst:" in page
    worst = [line for line in page.splitlines() if line.startswith("| `") and len(line.split("|")) == 7]
    assert [line.split("|")[2].strip() for line in worst] == ["0.500", "0.070"]
