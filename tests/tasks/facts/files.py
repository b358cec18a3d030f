"""Files of facts in the formats of BEAR and COUNTERFACT, with facts of our own."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from itertools import product
from pathlib import Path
from string import ascii_lowercase

from inversionview.tasks.facts.tables import BEAR, FactTable

CAPITALS = (
    ("West Bengal", "Kolkata"), ("Morocco", "Rabat"), ("Peru", "Lima"), ("Togo", "Lomé"), ("Kenya", "Nairobi"),
    ("France", "Paris"), ("Costa Rica", "San José"), ("Fiji", "Suva"), ("Chad", "N'Djamena"), ("Oman", "Muscat"),
)  # fmt: skip
CONTINENTS = (
    ("Morocco", "Africa"), ("Peru", "South America"), ("Togo", "Africa"), ("Kenya", "Africa"), ("France", "Europe"),
    ("Fiji", "Oceania"), ("Chad", "Africa"), ("Oman", "Asia"), ("Ross Island", "Antarctica"),
)  # fmt: skip


def bear_fact(subject: str, answer: str, aliases: Sequence[str] = ()) -> str:
    return json.dumps({"sub_id": "Q1", "sub_label": subject, "sub_aliases": [*aliases], "obj_id": "Q2",
                       "obj_label": answer, "answer_idx": 0})  # fmt: skip


def write_bear(folder: Path, **more: Iterable[tuple[str, str]]) -> Path:
    """A folder of BEAR, as it is published: capitals, continents, and these subjects and objects of other relations."""
    (folder / "BEAR").mkdir(parents=True)
    for name, facts in {"P36": CAPITALS, "P30": CONTINENTS, **more}.items():
        lines = [bear_fact(subject, answer) for subject, answer in facts]
        (folder / "BEAR" / f"{name}.jsonl").write_text("\n".join(lines), "utf-8")
    return folder


def large_bear(folder: Path) -> Path:
    """With made-up facts in all relations that the loader has phrasings of, and in one that it has none of."""
    made_up = [(f"{first}{last}", first) for first, last in product(("Ar", "Bo", "Ce", "Du", "El"), ascii_lowercase)]
    return write_bear(folder, **dict.fromkeys((*BEAR, "P9999"), made_up))


def counterfact(subject: str, prompt: str, answer: str, paraphrases: list[str]) -> dict:
    asked = {"prompt": prompt, "relation_id": "P103", "target_new": {"str": "Welsh", "id": "Q1"},
             "target_true": {"str": answer, "id": "Q2"}, "subject": subject}  # fmt: skip
    return {"case_id": 0, "requested_rewrite": asked, "paraphrase_prompts": paraphrases, "generation_prompts": []}


def known_fact(subject: str, prompt: str, answer: str) -> dict:
    return {"known_id": 0, "subject": subject, "attribute": answer, "template": prompt.replace(subject, "{}"),
            "prediction": f" {answer}. It", "prompt": prompt, "relation_id": "P103"}  # fmt: skip


def texts(table: FactTable) -> list[str]:
    return [said.text for said in table.statements()]
