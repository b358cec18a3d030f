"""Claims about a circuit beside what was measured: each is a list of tests, and each test a number and a threshold.

The thresholds stand here, before anything is measured; the pages of the studies are made of the verdicts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from inversionview.report.map import KNOWN_SHARE, PARTLY

MOVES, BARELY = 0.10, 0.02
"""Shares of the whole effect, clean run's logit difference less the contrast run's, that a patch must reach to move the
answer, and must not reach to be said to barely move it."""
MORE = 0.1
"""Bits by which one site must know more than another; also more than two standard errors of the difference."""


class Check(NamedTuple):
    """One test, done."""

    holds: bool
    words: str


class Measured(NamedTuple):
    """What was measured of one model."""

    maps: Mapping[str, Any]
    """Documents of `inversionview map --json`, by name."""
    patching: Mapping[str, Any]
    """Documents of `inversionview patch --json`, by name."""
    causal: Mapping[str, Any] = {}
    """Documents of `inversionview causal --json`, by name."""

    def bits(self, name: str, sites: Sequence[str], at: str, feature: str) -> tuple[list[Any | None], str]:
        """Of a map, or the wide one where that is silent about one of the sites, which is then said."""
        found = [bits_at(self.maps[name], site, at, feature) for site in sites]
        wide = self.maps.get(f"wide {name}")
        if wide is None or None not in found:
            return found, ""
        return [bits_at(wide, site, at, feature) for site in sites], f", ε = {wide['epsilon']:g}"


class Test(Protocol):
    """Something that is so or not, by one number."""

    def check(self, measured: Measured) -> Check:
        """Do the test."""
        ...


class Bits(NamedTuple):
    """How much of a feature's entropy a site gives: `knows`, `reads` or `does not read` it."""

    site: str
    at: str
    feature: str
    says: str
    map: str = "map"

    def check(self, measured: Measured) -> Check:
        """Compare the share with `KNOWN_SHARE` or `PARTLY`."""
        (found,), where = measured.bits(self.map, [self.site], self.at, self.feature)
        if found is None:
            return Check(False, f"nothing measured about {self.feature} in `{self.site}` at `{self.at}`")
        share = found["bits"] / found["of"] if found["of"] else 0.0
        holds = {"knows": share >= KNOWN_SHARE, "reads": share >= PARTLY, "does not read": share < PARTLY}[self.says]
        return Check(holds, f"{self.feature} in `{self.site}` at `{self.at}`: {in_bits(found)} ({share:.0%}){where}")


class BitsOfEach(NamedTuple):
    """The same of several sites: each must do so."""

    sites: tuple[str, ...]
    at: str
    feature: str
    says: str

    def check(self, measured: Measured) -> Check:
        """Test each site, and tell the shares of all."""
        checks = [Bits(site, self.at, self.feature, self.says).check(measured) for site in self.sites]
        found = measured.bits("map", self.sites, self.at, self.feature)[0]
        shares = ", ".join(
            f"`{site}` {one['bits'] / one['of'] + 0.0:.0%}" if one and one["of"] else f"`{site}` ?"
            for site, one in zip(self.sites, found, strict=True)
        )
        return Check(all(check.holds for check in checks), f"share of {self.feature} at `{self.at}`: {shares}")


class More(NamedTuple):
    """A site gives more bits about a feature than another one."""

    site: str
    than: str
    at: str
    feature: str
    map: str = "map"

    def check(self, measured: Measured) -> Check:
        """Compare the difference with `MORE` and with two standard errors."""
        (before, after), where = measured.bits(self.map, [self.than, self.site], self.at, self.feature)
        if before is None or after is None:
            return Check(False, f"nothing measured about {self.feature} at `{self.at}`")
        gain = after["bits"] - before["bits"]
        error = (before["se"] ** 2 + after["se"] ** 2) ** 0.5
        both = f"{in_bits(after)} in `{self.site}`, {before['bits']:.2f} in `{self.than}`"
        words = f"{self.feature} at `{self.at}`: {both}{where}"
        return Check(gain >= MORE and gain > 2 * error, words)


class Moves(NamedTuple):
    """What a patch does to the logit difference: it `moves` it, or `barely moves` it."""

    setting: str
    sites: tuple[str, ...]
    says: str = "moves"
    order: str = "each"

    def check(self, measured: Measured) -> Check:
        """Compare the share of the whole effect with `MOVES` or `BARELY`."""
        document = measured.patching[self.setting]
        effect = effect_of(document, self.sites, self.order)
        if effect is None:
            return Check(False, f"{' and '.join(self.sites)} was not patched")
        share = effect["drop"] / whole(document)
        holds = {"moves": share >= MOVES, "barely moves": abs(share) <= BARELY}[self.says]
        names = ", ".join(f"`{site}`" for site in self.sites)
        drop = number(effect["drop"], effect["se"])
        return Check(holds, f"{self.setting}, patching {names}: {drop} ({share:.0%} of the whole)")


class MovesOfEach(NamedTuple):
    """The same of several sites, patched one at a time: each must do so."""

    setting: str
    sites: tuple[str, ...]
    says: str = "moves"

    def check(self, measured: Measured) -> Check:
        """Test each site, and tell the shares of all."""
        document = measured.patching[self.setting]
        checks = [Moves(self.setting, (site,), self.says).check(measured) for site in self.sites]
        found = [effect_of(document, [site], "each") for site in self.sites]
        shares = ", ".join(
            f"`{site}` {effect['drop'] / whole(document) + 0.0:.0%}" if effect else f"`{site}` ?"
            for site, effect in zip(self.sites, found, strict=True)
        )
        return Check(all(check.holds for check in checks), f"{self.setting}, of the whole: {shares}")


class Uses(NamedTuple):
    """What the model does with a feature that a site holds: the verdict of `inversionview causal`, in most queries."""

    setting: str
    feature: str
    says: str

    def check(self, measured: Measured) -> Check:
        """Count the queries with this verdict; more than half of those that have any must have it."""
        verdicts = [found for query in measured.causal[self.setting] for found in [verdict_of(query, self.feature)]]
        told = [verdict for verdict in verdicts if verdict is not None]
        same = sum(verdict == self.says for verdict in told)
        words = f"{self.feature} {self.says} in {same} of {len(told)} queries"
        if len(told) < len(verdicts):
            words += f", {len(verdicts) - len(told)} tell nothing"
        return Check(2 * same > len(told), words)


class Claim(NamedTuple):
    """A statement about a circuit that somebody published, and what must be measured for it to be so."""

    says: str
    source: str
    encoded: tuple[Test, ...] = ()
    """About bits."""
    used: tuple[Test, ...] = ()
    """About effects."""


class Verdict(NamedTuple):
    """A claim beside what was measured of a model."""

    model: str
    claim: Claim
    encoded: list[Check]
    used: list[Check]

    @property
    def agrees(self) -> bool:
        """Whether every test of it holds."""
        return all(check.holds for check in [*self.encoded, *self.used])


def judged(model: str, measured: Measured, claims: Sequence[Claim]) -> list[Verdict]:
    """Do the tests of every claim."""
    return [
        Verdict(model, claim, *([test.check(measured) for test in tests] for tests in (claim.encoded, claim.used)))
        for claim in claims
    ]


def table(verdicts: Sequence[Verdict], *, agree: bool) -> Iterator[str]:
    """The lines of a Markdown table of the claims that agree, or of those that do not."""
    chosen = [verdict for verdict in verdicts if verdict.agrees == agree]
    if not chosen:
        yield "None.\n"
        return
    yield "| model | the claim | bits | causal effect | the claim is from |"
    yield "| --- | --- | --- | --- | --- |"
    for verdict in chosen:
        bits, effects = _cell(verdict.encoded), _cell(verdict.used)
        yield f"| {verdict.model} | {verdict.claim.says} | {bits} | {effects} | {verdict.claim.source} |"
    yield ""


def rules() -> str:
    """Say which thresholds the verdicts go by."""
    return (
        f"A site *knows* a feature when its activation gives at least {KNOWN_SHARE:.0%} of the feature's entropy, "
        f"*reads* it from {PARTLY:.0%} on, and gives *more* than another where the difference is at least {MORE:g} "
        "bits and two standard errors. A patch *moves* the answer when it takes away at least "
        f"{MOVES:.0%} of the whole effect (the clean run's logit difference less the contrast run's), and *barely* "
        f"moves it up to {BARELY:.0%}."
    )


def bits_at(document: Any, site: str, at: str, feature: str) -> Any | None:
    """What a map says about a feature at a place: bits, of, se; None where it has nothing."""
    for cell in document["cells"]:
        if cell["site"] == site and cell["at"] == at:
            return cell.get("bits", {}).get(feature)
    return None


def effect_of(document: Any, sites: Sequence[str], order: str) -> Any | None:
    """The effect of patching these sites together; None where that was not done."""
    wanted = [place(site, document) for site in sites]
    for effect in document["effects"]:
        if [place(site, document) for site in effect["sites"]] == wanted and effect["order"] == order:
            return effect
    return None


def place(site: str, document: Any) -> str:
    """A site with its position, which is the document's where it has none of its own."""
    return site if "@" in site else f"{site}@{document['at']}"


def whole(document: Any) -> float:
    """The effect of patching everything: the clean run's logit difference less the contrast run's."""
    return float(document["clean"] - document["contrast_run"])


def verdict_of(document: Any, feature: str) -> str | None:
    """What a document of `inversionview causal` says of a feature; None where it abstains."""
    for found in document["features"]:
        if found["name"] == feature:
            return found["verdict"] or None
    return None


def in_bits(found: Any) -> str:
    """Bits of a feature's entropy, with their standard error."""
    return f"{found['bits'] + 0.0:.2f} ± {found['se']:.2f} of {found['of']:.2f} bits"


def number(mean: float, se: float | None) -> str:
    """A mean with its standard error."""
    return f"{mean:.2f}" if se is None else f"{mean:.2f} ± {se:.2f}"


def _cell(checks: Sequence[Check]) -> str:
    return "; ".join(check.words if check.holds else f"**{check.words}**" for check in checks) or "–"
