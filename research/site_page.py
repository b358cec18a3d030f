"""What the pages of `ioi-small` and `facts-small` show alike: bits, patching and attribution, side by side.

Both are made of what `research/site_study.py` measured, a document of the same form.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from inversionview.report.map import KNOWN_SHARE, PARTLY
from research.claims import MOVES, bits_at, effect_of, number, whole

DEGREES = ("no", "partly", "yes")


class Setting(NamedTuple):
    """A contrast that is patched in, and the positions at which it is; others play another part in the other run."""

    contrast: str
    ats: tuple[str, ...]


def rules() -> str:
    """Say which thresholds the verdicts go by."""
    return (
        f"A site *knows* a feature when its activation gives at least {KNOWN_SHARE:.0%} of the feature's entropy, and "
        f"*reads* it from {PARTLY:.0%} on. Attribution *shows* it when, of all its values, the input's own is the one "
        "whose words the site raises most, or the one whose words it lowers most, in at least "
        f"{KNOWN_SHARE:.0%} of the inputs, and shows it *partly* from {PARTLY:.0%} on. A patch *moves* the answer when "
        f"it takes away at least {MOVES:.0%} of the whole effect (the clean run's logit difference less the contrast "
        "run's)."
    )


def place_of(site: str, at: str) -> str:
    """A site at a position, as patching names it."""
    return f"{site}@{at}"


def attributed(data: Any, site: str, at: str) -> Any:
    """How the words of each feature rank in what a site adds to the logits."""
    return next(cell for cell in data["attribution"]["cells"] if cell["site"] == site and cell["at"] == at)["shown"]


def share_of(data: Any, site: str, at: str, feature: str) -> float:
    """The share of a feature's entropy that a site gives."""
    found = bits_at(data["map"], site, at, feature)
    return found["bits"] / found["of"] if found and found["of"] else 0.0


def shows(data: Any, site: str, feature: str) -> tuple[int, int]:
    """How well preimage and attribution of a site at END show a feature: 2 whole, 1 partly, 0 not."""
    added = attributed(data, site, "END")[feature]
    shares = share_of(data, site, "END", feature), max(added["raised"], added["lowered"])
    preimage, attribution = ((share >= KNOWN_SHARE) + (share >= PARTLY) for share in shares)
    return preimage, attribution


def moved(data: Any, setting: str, site: str, at: str) -> float:
    """The share of the whole effect that patching a site alone takes away."""
    document = data["patching"][setting]
    effect = effect_of(document, [place_of(site, at)], "each")
    return 0.0 if effect is None else float(effect["drop"] / whole(document))


def sites_of(data: Any) -> list[str]:
    """All sites that were measured, in the order of a forward."""
    return list(dict.fromkeys(cell["site"] for cell in data["map"]["cells"]))


def in_short(data: Any, sites: Sequence[str], features: Sequence[str]) -> Iterator[str]:
    """A line for each site at END whose patching moves the answer, and one for all others together."""
    names = list(data["attribution"]["cells"][0]["shown"])
    used = {site: moves for site in sites if (moves := _moves(data, site))}
    for site, moves in used.items():
        shares = {name: share_of(data, site, "END", name) for name in features}
        knows = [name for name, share in shares.items() if share >= KNOWN_SHARE]
        reads = [name for name, share in shares.items() if PARTLY <= share < KNOWN_SHARE]
        shown = [f"{name} {DEGREES[shows(data, site, name)[1]]}" for name in names]
        holds = [f"{verb} {', '.join(some)}" for verb, some in (("knows", knows), ("reads", reads)) if some]
        yield (
            f"- `{site}` {' and '.join(holds) or 'reads none of these'}. Patching it takes away {', '.join(moves)} of "
            f"the whole. Attribution shows: {', '.join(shown)}."
        )
    rest = [site for site in sites if site not in used]
    known = {name: sum(share_of(data, site, "END", name) >= KNOWN_SHARE for site in rest) for name in features}
    told = ", ".join(f"{name} in {n}" for name, n in known.items() if n) or "nothing"
    if rest:
        which = f"The other {len(rest)}" if used else f"All {len(rest)}"
        yield f"- {which} move the answer by less than {MOVES:.0%} each. What they know: {told}."
    yield ""


def side_by_side(
    data: Any, sites: Sequence[str], features: Sequence[str], more: Mapping[str, Mapping[str, str]] | None = None
) -> Iterator[str]:
    """Sites at END: the bits of each feature, what patching does, and what attribution shows of those that are words.

    `more`: further columns before these, by name and site.
    """
    settings, names = list(data["patching"]), list(data["attribution"]["cells"][0]["shown"])
    more = more or {}
    heads = [*more, *(f"{name}, bits" for name in features), *(f"{name}: moves by" for name in settings)]
    heads += [*(f"attribution: {name}" for name in names), "the preimage shows more of"]
    yield f"| at END | {' | '.join(heads)} |"
    yield "| --- " * (len(heads) + 1) + "|"
    for site in sites:
        added = attributed(data, site, "END")
        row = [column.get(site, "–") for column in more.values()]
        row += [_bits(data, site, "END", name) for name in features]
        row += [effect(data["patching"][name], [place_of(site, "END")], "each") for name in settings]
        row += [ranks(added[name]) for name in names]
        clearer = [name for name in names if shows(data, site, name)[0] > shows(data, site, name)[1]]
        yield f"| `{site}` | {' | '.join([*row, ', '.join(clearer) or '–'])} |"
    yield ""


def compared(data: Any, sites: Sequence[str], what: str) -> str:
    """Count how often the preimage shows more of a feature than attribution, and the other way."""
    names = list(data["attribution"]["cells"][0]["shown"])
    pairs = [shows(data, site, name) for site in sites for name in names]
    more, less = sum(a > b for a, b in pairs), sum(a < b for a, b in pairs)
    return (
        f"Of {len(pairs)} pairs of {what} and one of these features ({', '.join(names)}), the preimage shows more in "
        f"{more}, attribution in {less}, and {len(pairs) - more - less} are alike."
    )


def every_site(data: Any, at: str, features: Sequence[str]) -> Iterator[str]:
    """Bits of every site at a position, and what patching it does."""
    settings = [name for name, one in data["patching"].items() if _patched(one, at)]
    heads = [*features, "whole input", *(f"{name}: moves by" for name in settings)]
    yield f"| at {at} | {' | '.join(heads)} |"
    yield "| --- " * (len(heads) + 1) + "|"
    for cell in data["map"]["cells"]:
        if cell["at"] == at:
            row = [_bits(data, cell["site"], at, name) for name in features]
            row.append(mean(cell["size"], cell["size_se"]))
            row += [effect(data["patching"][name], [place_of(cell["site"], at)], "each") for name in settings]
            yield f"| `{cell['site']}` | {' | '.join(row)} |"
    yield ""


def together(data: Any) -> Iterator[str]:
    """What patching several sites at once does."""
    settings = list(data["patching"])
    yield f"| patched together | {' | '.join(settings)} |"
    yield "| --- " * (len(settings) + 1) + "|"
    for one in data["patching"][settings[0]]["effects"]:
        if one["order"] == "together":
            drops = [effect(data["patching"][name], one["sites"], "together") for name in settings]
            yield f"| {' '.join(f'`{site}`' for site in one['sites'])} | {' | '.join(drops)} |"
    yield ""


def one_activation(found: Any) -> Iterator[str]:
    """The worked example: members of an exact preimage, and the words that attribution names."""
    bits = ", ".join(f"{name} {plain(one['bits'])} of {one['of']:.2f}" for name, one in found["bits"].items())
    yield filled(
        f"`{found['site']}` at {found['at']} of “{found['input']}” (of the heads above, the one that moves the answer "
        "most, of those where preimage and attribution differ if any do; the first held-out input drawn). Its exact "
        f"preimage has {found['inside']:,} members; bits of this one query: {bits}."
    )
    yield f"| {len(found['members'])} of {found['inside']:,} members, from the nearest to the furthest | distance |"
    yield "| --- | --- |"
    yield from (f"| {one['input']} | {one['distance']:.3f} |" for one in found["members"])
    yield ""
    for words, key in (("raises most", "top"), ("lowers most", "bottom")):
        tokens = ", ".join(f"{word} {value:+.2f}" for word, value in found[key])
        yield filled(f"The words whose logits it {words} directly: {tokens}.")


def pairs(data: Any) -> str:
    """What was patched: the clean and the contrast runs of every setting."""
    return "; ".join(
        f"{name} (`{one['contrast']}`): {one['n']:,} pairs, logit difference {number(one['clean'], one['clean_se'])} "
        f"clean, {number(one['contrast_run'], one['contrast_run_se'])} in the contrast run"
        for name, one in data["patching"].items()
    )


def entropies(data: Any) -> str:
    """The features with their entropies."""
    return ", ".join(f"{name} {one['of']:.2f}" for name, one in data["map"]["cells"][0]["bits"].items())


def decoder(found: Any) -> Iterator[str]:
    """What the decoder finds beside random inputs; nothing for a study without one."""
    if found is None:
        return
    same = found["mean"]["same"]
    yield "## What the decoder finds\n"
    yield filled(
        f"In-ε rate of one sample at temperature 1, mean over {len(found['sites'])} sites of {found['n']:,} held-out "
        f"inputs each, position rule `same`: {number(same['rate'], same['se'])}; random inputs get "
        f"{same['floor']:.2f}. Nothing else on this page needs the decoder."
    )


def effect(document: Any, sites: Sequence[str], order: str) -> str:
    """What a patch takes away, and its share of the whole effect."""
    found = effect_of(document, sites, order)
    if found is None:
        return "–"
    return f"{mean(found['drop'], found['se'])} ({round(found['drop'] / whole(document), 2) + 0.0:.0%})"


def ranks(added: Any) -> str:
    """How a feature's own words rank in what a site adds to the logits."""
    above = round(added["above"], 2) + 0.0
    return f"{above:+.2f}, rank {added['rank'] + 1:.1f}, first {added['raised']:.0%}, last {added['lowered']:.0%}"


def mean(value: float, se: float) -> str:
    """A mean with its standard error, which is left out where it rounds to nothing."""
    return plain(value) if se < 0.005 else f"{plain(value)} ± {se:.2f}"


def plain(value: float) -> str:
    """Two digits behind the point, and no minus before zeros."""
    return f"{round(value, 2) + 0.0:.2f}"


def filled(text: str) -> str:
    """Paragraphs in lines of 120 characters."""
    return "\n\n".join(textwrap.fill(part, 120) for part in text.strip().split("\n\n")) + "\n"


def _moves(data: Any, site: str) -> list[str]:
    shares = {name: moved(data, name, site, "END") for name in data["patching"]}
    return [f"{share:.0%} ({name})" for name, share in shares.items() if share >= MOVES]


def _bits(data: Any, site: str, at: str, feature: str) -> str:
    found = bits_at(data["map"], site, at, feature)
    return "–" if found is None else mean(found["bits"], found["se"])


def _patched(document: Any, at: str) -> bool:
    alone = [one["sites"] for one in document["effects"] if one["order"] == "each"]
    return any(site.endswith(f"@{at}") for sites in alone for site in sites)
