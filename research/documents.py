"""The JSON documents that pages are made of: kept in `research/results`, asked for single numbers, written as words."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from inversionview.files import write_atomic
from research.paths import RESULTS

Document = Mapping[str, Any]
"""What one of the commands prints with `--json`, or several such documents by name."""
VERDICTS = ("used", "merely present", "not encoded", None)
"""Of `inversionview causal`; None where it abstains."""


def load(name: str) -> Any:
    """A document of `research/results`."""
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))


def keep(name: str, document: Document) -> None:
    """Write a document to `research/results`."""
    RESULTS.mkdir(exist_ok=True)
    write_atomic(RESULTS / f"{name}.json", json.dumps(document, ensure_ascii=False, separators=(",", ":")) + "\n")


def rounded(value: Any, digits: str) -> Any:
    """The same document with its numbers in fewer digits: `.4f` behind the point, `.6g` in all."""
    if isinstance(value, Mapping):
        return {key: rounded(item, digits) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [rounded(item, digits) for item in value]
    return float(f"{value:{digits}}") + 0.0 if isinstance(value, float) else value


def bits_at(a_map: Document, site: str, at: str, feature: str) -> Any | None:
    """What a map says about a feature at a place: bits, of, se; None where it has nothing."""
    for cell in a_map["cells"]:
        if cell["site"] == site and cell["at"] == at:
            return cell.get("bits", {}).get(feature)
    return None


def share(bits: Document | None) -> float:
    """The share of a feature's entropy that is given; 0 where nothing was measured."""
    return float(bits["bits"] / bits["of"]) if bits and bits["of"] > 0 else 0.0


def effect_of(patching: Document, sites: Sequence[str], order: str) -> Any | None:
    """The effect of patching these sites together; None where that was not done."""
    places = [place(site, patching) for site in sites]
    for effect in patching["effects"]:
        if [place(site, patching) for site in effect["sites"]] == places and effect["order"] == order:
            return effect
    return None


def place(site: str, patching: Document) -> str:
    """A site with its position, which is the document's where it has none of its own."""
    return site if "@" in site else f"{site}@{patching['at']}"


def whole(patching: Document) -> float:
    """The effect of patching everything: the clean run's logit difference less the contrast run's."""
    return float(patching["clean"] - patching["contrast_run"])


def verdicts(queries: Iterable[Document], feature: str) -> list[str | None]:
    """What `inversionview causal` says of a feature, query by query; None where it abstains."""
    by_name = ({one["name"]: one["verdict"] for one in query["features"]} for query in queries)
    return [features.get(feature) or None for features in by_name]


def verdict_counts(queries: Iterable[Document], feature: str) -> list[int]:
    """How many queries have each of `VERDICTS`."""
    told = verdicts(queries, feature)
    return [told.count(verdict) for verdict in VERDICTS]


def in_bits(bits: Document) -> str:
    """Bits of a feature's entropy, with their standard error."""
    return f"{bits['bits'] + 0.0:.2f} ± {bits['se']:.2f} of {bits['of']:.2f} bits"


def number(mean: float, se: float) -> str:
    """A mean with its standard error."""
    return f"{mean:.2f} ± {se:.2f}"
