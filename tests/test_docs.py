"""What README and docs say is true: their examples run, their commands parse, their links lead somewhere."""

from __future__ import annotations

import re
import shlex
from contextlib import ExitStack
from importlib.util import find_spec

import click
import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

import inversionview
import inversionview.cli
from inversionview.cli import cli
from inversionview.preimage.sources.registry import SOURCES
from inversionview.studies.recipes.ioi import small_task
from inversionview.tasks import TASKS
from tests.paths import ROOT
from tests.studies.hub_server import standing_in

PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
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


LONG = ("causal", "completeness", "epsilon", "exact", "extending", "information", "sources", "study-folder", "text")
"""Pages of docs that try in many ways what takes a while."""


def page(name):
    long = name in {f"docs/{topic}.md" for topic in LONG}
    return pytest.param(name, marks=pytest.mark.slow if long else ())


@pytest.mark.parametrize("page", [page(name) for name, examples in EXAMPLES.items() if examples])
def test_examples_run(page, tmp_path, monkeypatch, capsys):
    """Those of one page one after the other, as a reader would type them, but that what takes minutes is cut short."""
    monkeypatch.chdir(tmp_path)
    if any("my-model" in code for code in EXAMPLES[page]):
        save_model(tmp_path / "my-model")
    names: dict[str, object] = {}
    held = ExitStack()
    there_were = {id(registry): set(registry) for registry in (TASKS, SOURCES)}
    try:
        if any("push_to_hub" in code for code in EXAMPLES[page]):
            held.enter_context(standing_in(monkeypatch, tmp_path / "cache"))
        for i, code in enumerate(EXAMPLES[page], start=1):
            code = re.sub(r"minutes=\d+", "steps=2", code)
            exec(compile(code, f"{page}, example {i}", "exec"), names)
    finally:
        held.close()
        for registry in (TASKS, SOURCES):  # other tests ask which there are
            for name in set(registry) - there_were[id(registry)]:
                del registry[name]


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
    words = shlex.split(command, comments=True)
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


def test_every_page_is_reached_from_the_index():
    docs = ROOT / "docs"
    pages = {path.relative_to(docs).as_posix() for path in PAGES if path.is_relative_to(docs)} - {"index.md"}
    assert pages <= {link for link, _ in LINK.findall(TEXTS["docs/index.md"])}


def test_the_reference_has_every_public_name():
    named = re.findall(r"^::: inversionview\.(\w+)$", TEXTS["docs/api.md"], re.MULTILINE)
    assert sorted(named) == sorted(inversionview.__all__)


def test_architecture_has_every_folder():
    named = set(re.findall(r"^\| `src/inversionview/(\w+)` ", TEXTS["docs/architecture.md"], re.MULTILINE))
    assert named == {path.name for path in (ROOT / "src" / "inversionview").iterdir() if path.is_dir()} - {
        "__pycache__"
    }


@pytest.mark.slow
def test_the_reading_in_the_first_steps_is_what_is_printed_now(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "80")
    page = "docs/getting-started.md"
    command = next(line for place, line in COMMANDS if place == page and "--site a0.2" in line)
    assert inversionview.cli.main(shlex.split(command)[1:]) == 0
    printed = capsys.readouterr().out.splitlines()
    said = blocks(TEXTS[page], "text")[0]
    lines = said.splitlines()
    known = next(i for i, line in enumerate(lines) if line.startswith("PARTLY"))
    assert [line.rstrip() for line in printed[:known]] == lines[:known]
    assert len(printed) == len(lines) <= 25
    assert {"6··+8··", "8··+6··"} <= set(said.split()) & set("\n".join(printed).split())
