"""What the pages of `ioi-small` and `facts-small` show alike: bits, patching and attribution, side by side.

Both are made of what `research/site_study.py` measured, a document of the same form.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from inversionview.results.map import KNOWN_SHARE, PARTLY
from research import markdown
from research.claims import MOVES
from research.documents import Document, bits_at, effect_of, number, share, whole

DEGREES = ("no", "partly", "yes")


class Setting(NamedTuple):
    """A contrast that is patched in, and the positions at which it is; others play another part in the other run."""

    contrast: str
    ats: tuple[str, ...]


def rules() -> str:
    """Say which thresholds the verdicts go by."""
    return markdown.filled(
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


def attributed(data: Document, site: str, at: str) -> Any:
    """How the words of each feature rank in what a site adds to the logits."""
    return next(cell for cell in data["attribution"]["cells"] if cell["site"] == site and cell["at"] == at)["shown"]


def attributed_features(data: Document) -> list[str]:
    """The features that have words."""
    return list(data["attribution"]["cells"][0]["shown"])


def share_of(data: Document, site: str, at: str, feature: str) -> float:
    """The share of a feature's entropy that a site gives."""
    return share(bits_at(data["map"], site, at, feature))


def shows(data: Document, site: str, feature: str) -> tuple[int, int]:
    """How well preimage and attribution of a site at END show a feature: 2 whole, 1 partly, 0 not."""
    added = attributed(data, site, "END")[feature]
    shares = share_of(data, site, "END", feature), max(added["raised"], added["lowered"])
    preimage, attribution = ((one >= KNOWN_SHARE) + (one >= PARTLY) for one in shares)
    return preimage, attribution


def moved(data: Document, setting: str, site: str, at: str) -> float:
    """The share of the whole effect that patching a site alone takes away."""
    patching = data["patching"][setting]
    effect = effect_of(patching, [place_of(site, at)], "each")
    return 0.0 if effect is None else float(effect["drop"] / whole(patching))


def sites_of(data: Document) -> list[str]:
    """All sites that were measured, in the order of a forward."""
    return list(dict.fromkeys(cell["site"] for cell in data["map"]["cells"]))


def in_short(data: Document, sites: Sequence[str], features: Sequence[str]) -> str:
    """A line for each site at END whose patching moves the answer, and one for all others together."""
    used = {site: moves for site in sites if (moves := _moves(data, site))}
    lines = [_in_words(data, site, features, moves) for site, moves in used.items()]
    if rest := [site for site in sites if site not in used]:
        counts = {name: sum(share_of(data, site, "END", name) >= KNOWN_SHARE for site in rest) for name in features}
        what = ", ".join(f"{name} in {n}" for name, n in counts.items() if n) or "nothing"
        which = f"The other {len(rest)}" if used else f"All {len(rest)}"
        lines.append(f"{which} move the answer by less than {MOVES:.0%} each. What they know: {what}.")
    return markdown.listed(lines)


def _in_words(data: Document, site: str, features: Sequence[str], moves: Sequence[str]) -> str:
    shares = {name: share_of(data, site, "END", name) for name in features}
    knows = [name for name, given in shares.items() if given >= KNOWN_SHARE]
    reads = [name for name, given in shares.items() if PARTLY <= given < KNOWN_SHARE]
    holds = [f"{verb} {', '.join(names)}" for verb, names in (("knows", knows), ("reads", reads)) if names]
    shown = [f"{name} {DEGREES[shows(data, site, name)[1]]}" for name in attributed_features(data)]
    return (
        f"`{site}` {' and '.join(holds) or 'reads none of these'}. Patching it takes away {', '.join(moves)} of "
        f"the whole. Attribution shows: {', '.join(shown)}."
    )


def side_by_side(
    data: Document, sites: Sequence[str], features: Sequence[str], more: Mapping[str, Mapping[str, str]] | None = None
) -> str:
    """Sites at END: the bits of each feature, what patching does, and what attribution shows of those that are words.

    `more`: further columns before these, by name and site.
    """
    patching, names, more = data["patching"], attributed_features(data), more or {}
    columns = ["at END", *more, *(f"{name}, bits" for name in features), *(f"{name}: moves by" for name in patching)]
    columns += [*(f"attribution: {name}" for name in names), "the preimage shows more of"]
    rows = []
    for site in sites:
        added = attributed(data, site, "END")
        row = [f"`{site}`", *(column.get(site, "–") for column in more.values())]
        row += [_bits(data, site, "END", name) for name in features]
        row += [effect(setting, [place_of(site, "END")], "each") for setting in patching.values()]
        row += [ranks(added[name]) for name in names]
        clearer = [name for name in names if shows(data, site, name)[0] > shows(data, site, name)[1]]
        rows.append([*row, ", ".join(clearer) or "–"])
    return markdown.table(columns, rows)


def compared(data: Document, sites: Sequence[str], what: str) -> str:
    """Count how often the preimage shows more of a feature than attribution, and the other way."""
    names = attributed_features(data)
    pairs = [shows(data, site, name) for site in sites for name in names]
    more, less = sum(a > b for a, b in pairs), sum(a < b for a, b in pairs)
    return markdown.filled(
        f"Of {len(pairs)} pairs of {what} and one of these features ({', '.join(names)}), the preimage shows more in "
        f"{more}, attribution in {less}, and {len(pairs) - more - less} are alike."
    )


def every_site(data: Document, ats: Iterable[str], features: Sequence[str]) -> str:
    """Bits of every site at these positions, and what patching it does: a table for each position."""
    return markdown.joined(_every_site(data, at, features) for at in ats)


def _every_site(data: Document, at: str, features: Sequence[str]) -> str:
    patching = {name: one for name, one in data["patching"].items() if _is_patched(one, at)}
    rows = [
        [f"`{cell['site']}`", *(_bits(data, cell["site"], at, name) for name in features),
         mean(cell["size"], cell["size_se"]),
         *(effect(one, [place_of(cell["site"], at)], "each") for one in patching.values())]
        for cell in data["map"]["cells"]
        if cell["at"] == at
    ]  # fmt: skip
    return markdown.table([f"at {at}", *features, "whole input", *(f"{name}: moves by" for name in patching)], rows)


def together(data: Document) -> str:
    """What patching several sites at once does."""
    settings = data["patching"]
    groups = [one["sites"] for one in next(iter(settings.values()))["effects"] if one["order"] == "together"]
    rows = [
        (" ".join(f"`{site}`" for site in sites), *(effect(one, sites, "together") for one in settings.values()))
        for sites in groups
    ]
    return markdown.table(["patched together", *settings], rows)


def one_activation(example: Document) -> str:
    """The worked example: members of an exact preimage, and the words that attribution names."""
    bits = ", ".join(f"{name} {plain(one['bits'])} of {one['of']:.2f}" for name, one in example["bits"].items())
    introduction = (
        f"`{example['site']}` at {example['at']} of “{example['input']}” (of the heads above, the one that moves the "
        "answer most, of those where preimage and attribution differ if any do; the first held-out input drawn). Its "
        f"exact preimage has {example['inside']:,} members; bits of this one query: {bits}."
    )
    members = example["members"]
    columns = (f"{len(members)} of {example['inside']:,} members, from the nearest to the furthest", "distance")
    words = [
        markdown.filled(f"The words whose logits it {what} directly: {tokens}.")
        for what, key in (("raises most", "top"), ("lowers most", "bottom"))
        for tokens in [", ".join(f"{word} {value:+.2f}" for word, value in example[key])]
    ]
    table = markdown.table(columns, ((member["input"], f"{member['distance']:.3f}") for member in members))
    return markdown.joined([markdown.filled(introduction), table, *words])


def measurement(data: Document) -> dict[str, object]:
    """What the pages say of how it was measured: on how many inputs, and what was patched."""
    pairs = "; ".join(
        f"{name} (`{one['contrast']}`): {one['n']:,} pairs, logit difference {number(one['clean'], one['clean_se'])} "
        f"clean, {number(one['contrast_run'], one['contrast_run_se'])} in the contrast run"
        for name, one in data["patching"].items()
    )
    entropies = ", ".join(f"{name} {one['of']:.2f}" for name, one in data["map"]["cells"][0]["bits"].items())
    numbers = {name: data["map"][name] for name in ("epsilon", "queries")}
    return {**numbers, "of": entropies, "pairs": pairs, "n": data["attribution"]["n"]}


def decoder(rates: Document | None) -> str:
    """What the decoder finds beside random inputs; nothing for a study without one."""
    if rates is None:
        return ""
    same = rates["mean"]["same"]
    words = markdown.filled(
        f"In-ε rate of one sample at temperature 1, mean over {len(rates['sites'])} sites of {rates['n']:,} held-out "
        f"inputs each, position rule `same`: {number(same['rate'], same['se'])}; random inputs get "
        f"{same['floor']:.2f}. Nothing else on this page needs the decoder."
    )
    return f"## What the decoder finds\n\n{words}"


def effect(patching: Document, sites: Sequence[str], order: str) -> str:
    """What a patch takes away, and its share of the whole effect."""
    measured = effect_of(patching, sites, order)
    if measured is None:
        return "–"
    return f"{mean(measured['drop'], measured['se'])} ({round(measured['drop'] / whole(patching), 2) + 0.0:.0%})"


def ranks(added: Document) -> str:
    """How a feature's own words rank in what a site adds to the logits."""
    above = round(added["above"], 2) + 0.0
    return f"{above:+.2f}, rank {added['rank'] + 1:.1f}, first {added['raised']:.0%}, last {added['lowered']:.0%}"


def mean(value: float, se: float) -> str:
    """A mean with its standard error, which is left out where it rounds to nothing."""
    return plain(value) if se < 0.005 else f"{plain(value)} ± {se:.2f}"


def plain(value: float) -> str:
    """Two digits behind the point, and no minus before zeros."""
    return f"{round(value, 2) + 0.0:.2f}"


def _moves(data: Document, site: str) -> list[str]:
    shares = {name: moved(data, name, site, "END") for name in data["patching"]}
    return [f"{one:.0%} ({name})" for name, one in shares.items() if one >= MOVES]


def _bits(data: Document, site: str, at: str, feature: str) -> str:
    bits = bits_at(data["map"], site, at, feature)
    return "–" if bits is None else mean(bits["bits"], bits["se"])


def _is_patched(patching: Document, at: str) -> bool:
    alone = [one["sites"] for one in patching["effects"] if one["order"] == "each"]
    return any(site.endswith(f"@{at}") for sites in alone for site in sites)
