"""Facts from data sets in the formats in which they are published: BEAR, and COUNTERFACT.

BEAR (arXiv 2404.04113) is a folder: `BEAR/P36.jsonl` for each of Wikidata's properties, one fact a line, with other
names of its subject; and a file of relations (`metadata_relations.json`, or `relation_info.json`) that may hold
templates such as `The capital of [X] is [Y].` Those with the subject before the object are used, as in InversionView;
where there are none, phrasings of our own. Of the other names those in ASCII are taken, as there.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from inversionview.errors import UserError
from inversionview.files import read_json
from inversionview.tasks.facts.counterfact import counterfact_table
from inversionview.tasks.facts.tables import BEAR, Fact, FactTable
from inversionview.tasks.text.formats import file_rows

RELATIONS = ("metadata_relations.json", "relation_info.json")
"""Where BEAR says what it says of its relations."""


def read_facts(path: str | Path) -> FactTable:
    """The facts of a folder of BEAR or of a COUNTERFACT file.

    Raises `UserError` that says what is missing or not as it should be.
    """
    path = Path(path).expanduser()
    if path.is_dir():
        return read_bear(path)
    if path.suffix.lower() == ".json" and path.is_file():
        return read_counterfact(path)
    what = "is neither a folder nor a .json file" if path.exists() else "is not there"
    raise UserError(f"{path} {what}: give a folder of BEAR, or a COUNTERFACT file such as counterfact.json")


def is_bear(path: Path) -> bool:
    """Whether this is a folder that holds facts as BEAR's does."""
    return path.is_dir() and any(True for at in (path, path / "BEAR") for _ in at.glob("P*.jsonl"))


def read_bear(folder: Path, relations: Sequence[str] | None = None) -> FactTable:
    """The facts of a folder of BEAR, those of `relations` such as P36, or of all that there are phrasings of.

    Raises `UserError` for a folder that holds none, or what is not as published.
    """
    files = {path.stem: path for path in sorted((*folder.glob("P*.jsonl"), *folder.glob("BEAR/P*.jsonl")))}
    if not files:
        raise UserError(f"{folder} is no folder of BEAR: it has no files such as BEAR/P36.jsonl")
    missing = [name for name in relations or () if name not in files]
    if missing:
        raise UserError(f"{folder} has no relation {missing[0]}; it has: {', '.join(files)}")
    templates = _bear_templates(folder)
    phrasings = {name: templates.get(name) or BEAR.get(name, []) for name in relations or files}
    usable = {name: texts for name, texts in phrasings.items() if texts}
    if not usable:
        raise UserError(f"there is no template with the subject before the object for any relation of {folder}")
    facts = [fact for name in usable for fact in _bear_facts(files[name], name)]
    return FactTable.of_relations(facts, usable, [f"BEAR (arXiv 2404.04113), {len(usable)} relations"])


def read_counterfact(path: Path) -> FactTable:
    """The facts of a COUNTERFACT file, or of its `known_1000.json`; see `counterfact`."""
    document = read_json(path, "COUNTERFACT file")
    if not isinstance(document, list) or not document:
        raise UserError(f"{path} is not COUNTERFACT: it should be a list of facts")
    return counterfact_table(document, str(path))


def _bear_templates(folder: Path) -> dict[str, list[str]]:
    """Templates of each relation in which the subject comes before the object, in our own notation."""
    for name in RELATIONS:
        if (folder / name).is_file():
            document = read_json(folder / name, "file of relations")
            break
    else:
        return {}
    by_relation = {}
    for relation, about in document.items():
        given = about.get("templates", []) if isinstance(about, dict) else []
        texts = [text.replace("[X]", "{subject}").replace("[Y]", "{object}") for text in given]
        by_relation[relation] = [text for text in texts if re.fullmatch(r"[^{]*\{subject\}[^{]*\{object\}[^{]*", text)]
    return by_relation


def _bear_facts(path: Path, relation: str) -> list[Fact]:
    facts = []
    for place, row in file_rows(path, None):
        try:
            aliases = tuple(name for name in row.get("sub_aliases", ()) if name.isascii() and name.strip())
            facts.append(Fact(relation, row["sub_label"], row["obj_label"], relation, aliases))
        except (AttributeError, KeyError, TypeError) as error:
            raise UserError(f"{place} is no fact of BEAR: {error!r}") from error
    return facts
