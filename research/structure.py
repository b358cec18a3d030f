"""Prints the figures of the house, a column a folder: `python -m research.structure src research ../before/src`."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import NamedTuple

from research import markdown

MOST_POSITIONAL = 5
VAGUE = ("found", "asked", "known")
"""Names that say how something came about, and not what it is."""
_IGNORE = re.compile(r"#\s*type:\s*ignore")
Function = ast.FunctionDef | ast.AsyncFunctionDef


class Module(NamedTuple):
    """A file of Python, read but not run."""

    name: str
    """As one imports it: `inversionview.sites`; a package is its `__init__`."""
    text: str
    tree: ast.Module
    is_package: bool


class Figures(NamedTuple):
    """What is counted of a folder."""

    lines: int
    files: int
    type_ignores: int
    many_positional: list[str]
    """Functions with over five positional parameters, self and cls apart."""
    longest_class: tuple[int, str]
    longest_function: tuple[int, str]
    circles: list[list[str]]
    vague_names: int


def read(folder: Path) -> list[Module]:
    """All modules below a folder that stands on the path (`src`), or is a package itself (`research`)."""
    root = folder.parent if (folder / "__init__.py").exists() else folder
    modules = []
    for path in sorted(folder.rglob("*.py")):
        names, text = path.relative_to(root).with_suffix("").parts, path.read_text(encoding="utf-8")
        is_package = names[-1] == "__init__"
        modules.append(Module(".".join(names[:-1] if is_package else names), text, ast.parse(text), is_package))
    return modules


def figures(modules: Sequence[Module]) -> Figures:
    """Count."""
    classes, functions, many, vague = [(0, "–")], [(0, "–")], [], 0
    for module in modules:
        for node in ast.walk(module.tree):
            if isinstance(node, ast.ClassDef):
                classes.append((_length(node), f"{module.name}.{node.name}"))
            elif isinstance(node, Function):
                functions.append((_length(node), f"{module.name}.{node.name}"))
                if _positional(node) > MOST_POSITIONAL:
                    many.append(f"{module.name}.{node.name}")
            vague += isinstance(node, ast.Name) and node.id in VAGUE
    return Figures(
        lines=sum(module.text.count("\n") for module in modules),
        files=len(modules),
        type_ignores=sum(len(_IGNORE.findall(module.text)) for module in modules),
        many_positional=many,
        longest_class=max(classes),
        longest_function=max(functions),
        circles=circles(imports(modules)),
        vague_names=vague,
    )


def _length(node: ast.ClassDef | Function) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


def _positional(node: Function) -> int:
    return sum(one.arg not in ("self", "cls") for one in (*node.args.posonlyargs, *node.args.args))


def imports(modules: Iterable[Module]) -> dict[str, set[str]]:
    """For each module those of the others that it imports, wherever it does: at the top, in functions, for types."""
    by_name = {module.name: module for module in modules}
    return {name: set(_imported(module, by_name)) - {name} for name, module in by_name.items()}


def _imported(module: Module, by_name: Mapping[str, Module]) -> Iterator[str]:
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in by_name)
        elif isinstance(node, ast.ImportFrom):
            up = module.name.split(".")[: -(node.level - module.is_package) or None] if node.level else []
            base = ".".join([*up, *([node.module] if node.module else [])])
            names = (f"{base}.{alias.name}" for alias in node.names)
            yield from (place for name in names if (place := name if name in by_name else base) in by_name)


def circles(graph: Mapping[str, set[str]]) -> list[list[str]]:
    """Circles of imports that have no module in common, each from its first module by name back to it."""
    rest, ways = dict(graph), []
    while True:
        try:
            TopologicalSorter(rest).prepare()
        except CycleError as error:
            circle = error.args[1][:0:-1]  # the sorter tells who is imported first
            start = circle.index(min(circle))
            ways.append([*circle[start:], *circle[: start + 1]])
            rest = {name: others - set(circle) for name, others in rest.items() if name not in circle}
        else:
            return sorted(ways)


def table(columns: Mapping[str, Figures]) -> str:
    """The figures of several folders side by side, in Markdown."""
    rows: dict[str, Callable[[Figures], object]] = {
        "lines of Python": lambda one: f"{one.lines:,}",
        "files": lambda one: one.files,
        "type-ignores": lambda one: one.type_ignores,
        f"functions with over {MOST_POSITIONAL} positional parameters": lambda one: len(one.many_positional),
        "longest class": lambda one: "{} {}".format(*one.longest_class),
        "longest function": lambda one: "{} {}".format(*one.longest_function),
        "circles of imports": lambda one: len(one.circles),
        f"names {', '.join(VAGUE)}": lambda one: one.vague_names,
    }
    return markdown.table(
        ["", *columns], ([what, *(tell(one) for one in columns.values())] for what, tell in rows.items())
    )


def main(args: Sequence[str] | None = None) -> int:
    """Print the table of these folders, by default of `src`, and the circles; how many circles there are."""
    folders = (sys.argv[1:] if args is None else list(args)) or ["src"]
    columns = {folder: figures(read(Path(folder))) for folder in folders}
    print(table(columns))
    ways = [" → ".join(circle) for one in columns.values() for circle in one.circles]
    print("".join(f"\n{way}" for way in ways))
    return len(ways)


if __name__ == "__main__":
    raise SystemExit(main())
