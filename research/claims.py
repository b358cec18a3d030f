"""Claims about a circuit beside what was measured: each is a list of tests, and each test a number and a threshold.

The thresholds stand here, before anything is measured; the pages of the studies are made of the verdicts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from inversionview.results.map import KNOWN_SHARE, PARTLY
from research import markdown
from research.documents import Document, bits_at, effect_of, in_bits, number, share, verdicts, whole

MOVES, BARELY = 0.10, 0.02
"""Shares of the whole effect, clean run's logit difference less the contrast run's, that a patch must reach to move the
answer, and must not reach to be said to barely move it."""
UNTOUCHED = 1e-6
"""Nats up to which the mean KL of a next token's distribution says that an ablation leaves it as it is."""
MORE = 0.1
"""Bits by which one site must know more than another; also more than two standard errors of the difference."""


class Check(NamedTuple):
    """One test, done."""

    holds: bool
    words: str


class Measured(NamedTuple):
    """What was measured of one model."""

    maps: Mapping[str, Document]
    """Documents of `inversionview map --json`, by name."""
    patching: Mapping[str, Document]
    """Documents of `inversionview patch --json`, by name."""
    causal: Mapping[str, Sequence[Document]] = {}
    """Documents of `inversionview causal --json`, by name: one for each query."""
    ablation: Mapping[str, Document] = {}
    """Documents of `causal.ablation.ablate`, by the place that was ablated."""

    def bits(self, name: str, sites: Sequence[str], at: str, feature: str) -> tuple[list[Any], str]:
        """Of a map, or the wide one where that is silent about one of the sites, which is then said."""
        bits = [bits_at(self.maps[name], site, at, feature) for site in sites]
        wide = self.maps.get(f"wide {name}")
        if wide is None or None not in bits:
            return bits, ""
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
        (bits,), which = measured.bits(self.map, [self.site], self.at, self.feature)
        if bits is None:
            return Check(False, f"nothing measured about {self.feature} in `{self.site}` at `{self.at}`")
        given = share(bits)
        holds = {"knows": given >= KNOWN_SHARE, "reads": given >= PARTLY, "does not read": given < PARTLY}[self.says]
        return Check(holds, f"{self.feature} in `{self.site}` at `{self.at}`: {in_bits(bits)} ({given:.0%}){which}")


class BitsOfEach(NamedTuple):
    """The same of several sites: each must do so."""

    sites: tuple[str, ...]
    at: str
    feature: str
    says: str

    def check(self, measured: Measured) -> Check:
        """Test each site, and tell the shares of all."""
        holds = all(Bits(site, self.at, self.feature, self.says).check(measured).holds for site in self.sites)
        of_each, _ = measured.bits("map", self.sites, self.at, self.feature)
        shares = [share(bits) if bits and bits["of"] else None for bits in of_each]
        return Check(holds, f"share of {self.feature} at `{self.at}`: {_of_each(self.sites, shares)}")


class More(NamedTuple):
    """A site gives more bits about a feature than another one."""

    site: str
    than: str
    at: str
    feature: str
    map: str = "map"

    def check(self, measured: Measured) -> Check:
        """Compare the difference with `MORE` and with two standard errors."""
        (less, more), which = measured.bits(self.map, [self.than, self.site], self.at, self.feature)
        if less is None or more is None:
            return Check(False, f"nothing measured about {self.feature} at `{self.at}`")
        gain, error = more["bits"] - less["bits"], (less["se"] ** 2 + more["se"] ** 2) ** 0.5
        both = f"{in_bits(more)} in `{self.site}`, {less['bits']:.2f} in `{self.than}`"
        return Check(is_more(gain, error), f"{self.feature} at `{self.at}`: {both}{which}")


class Moves(NamedTuple):
    """What a patch does to the logit difference: it `moves` it, or `barely moves` it."""

    setting: str
    sites: tuple[str, ...]
    says: str = "moves"
    order: str = "each"

    def check(self, measured: Measured) -> Check:
        """Compare the share of the whole effect with `MOVES` or `BARELY`."""
        patching = measured.patching[self.setting]
        effect = effect_of(patching, self.sites, self.order)
        if effect is None:
            return Check(False, f"{' and '.join(self.sites)} was not patched")
        moved = effect["drop"] / whole(patching)
        holds = {"moves": moved >= MOVES, "barely moves": abs(moved) <= BARELY}[self.says]
        names, drop = ", ".join(f"`{site}`" for site in self.sites), number(effect["drop"], effect["se"])
        return Check(holds, f"{self.setting}, patching {names}: {drop} ({moved:.0%} of the whole)")


class MovesOfEach(NamedTuple):
    """The same of several sites, patched one at a time: each must do so."""

    setting: str
    sites: tuple[str, ...]
    says: str = "moves"

    def check(self, measured: Measured) -> Check:
        """Test each site, and tell the shares of all."""
        patching = measured.patching[self.setting]
        holds = all(Moves(self.setting, (site,), self.says).check(measured).holds for site in self.sites)
        effects = [effect_of(patching, [site], "each") for site in self.sites]
        shares = [effect["drop"] / whole(patching) if effect else None for effect in effects]
        return Check(holds, f"{self.setting}, of the whole: {_of_each(self.sites, shares)}")


class Uses(NamedTuple):
    """What the model does with a feature that a site holds: the verdict of `inversionview causal`, in most queries."""

    setting: str
    feature: str
    says: str

    def check(self, measured: Measured) -> Check:
        """Count the queries with this verdict; more than half of those that have any must have it."""
        of_queries = verdicts(measured.causal[self.setting], self.feature)
        silent, same = of_queries.count(None), of_queries.count(self.says)
        told = len(of_queries) - silent
        words = f"{self.feature} {self.says} in {same} of {told} queries"
        return Check(2 * same > told, words + (f", {silent} tell nothing" if silent else ""))


class Untouched(NamedTuple):
    """Ablating a place leaves every later prediction as it is."""

    place: str

    def check(self, measured: Measured) -> Check:
        """Compare the mean KL at each output with `UNTOUCHED`."""
        if self.place not in measured.ablation:
            return Check(False, f"{self.place} was not ablated")
        effects = measured.ablation[self.place]["effects"]
        words = ", ".join(f"`{effect['at']}` {effect['kl']:.1e}" for effect in effects)
        return Check(
            max(effect["kl"] for effect in effects) < UNTOUCHED, f"mean KL in nats, `{self.place}` ablated: {words}"
        )


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


def table(verdicts: Sequence[Verdict], *, agree: bool) -> str:
    """A Markdown table of the claims that agree, or of those that do not."""
    rows = [
        (verdict.model, verdict.claim.says, _cell(verdict.encoded), _cell(verdict.used), verdict.claim.source)
        for verdict in verdicts
        if verdict.agrees == agree
    ]
    columns = ("model", "the claim", "bits", "causal effect", "the claim is from")
    return markdown.table(columns, rows) if rows else "None."


def rules() -> str:
    """Say which thresholds the verdicts go by."""
    return markdown.filled(
        f"A site *knows* a feature when its activation gives at least {KNOWN_SHARE:.0%} of the feature's entropy, "
        f"*reads* it from {PARTLY:.0%} on, and gives *more* than another where the difference is at least {MORE:g} "
        "bits and two standard errors. A patch *moves* the answer when it takes away at least "
        f"{MOVES:.0%} of the whole effect (the clean run's logit difference less the contrast run's), and *barely* "
        f"moves it up to {BARELY:.0%}."
    )


def is_more(gain: float, error: float) -> bool:
    """Whether a difference in bits is one that counts."""
    return gain >= MORE and gain > 2 * error


def _of_each(sites: Sequence[str], shares: Sequence[float | None]) -> str:
    percents = ["?" if one is None else f"{one + 0.0:.0%}" for one in shares]
    return ", ".join(f"`{site}` {percent}" for site, percent in zip(sites, percents, strict=True))


def _cell(checks: Sequence[Check]) -> str:
    return "; ".join(check.words if check.holds else f"**{check.words}**" for check in checks) or "–"
