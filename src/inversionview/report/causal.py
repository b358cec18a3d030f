"""Whether what an activation encodes is used, as plain data, and its words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from inversionview.report.estimates import percent
from inversionview.report.reading import printable, visible
from inversionview.results.use import ENCODED, LEAST_NATS, LEAST_SHARE, FeatureUse, Use


class FeatureRow(NamedTuple):
    """A row of the table of features, as words."""

    cells: tuple[str, ...]
    """In the order of `FEATURE_COLUMNS`."""
    verdict: str
    saved: float
    """Share of the KL that sharing the feature saves, in [0, 1]."""


GROUP_COLUMNS = ("activations of", "inputs", "KL, nats", "95% interval", "largest", "same answer")
FEATURE_COLUMNS = ("feature", "here", "encoded", "KL shared", "KL not shared", "difference", "95% interval", "verdict")
_ORDER = ("used", "merely present", "not encoded")


def heading(document: Use) -> str:
    """Say what was asked."""
    place = f"{printable(document.site)} at {visible(document.at)}"
    return f"{printable(document.study)}, {printable(document.input)}: is {place} used?"


def answer(document: Use) -> str:
    """Say what came out for the activation as a whole."""
    members, random = document.members, document.random
    if document.verdict is None:
        return f"Not known, because {printable(document.why_not or 'nothing was found')}."
    if document.verdict == "not used":
        return f"Not used: activations of random non-members move the output by {_nats(random.kl)} nats."
    held = members.interval is not None and members.interval[1] < LEAST_NATS
    first = "members leave the output as it is" if held else "members move the output, too"
    return (
        f"Used: activations of {first} ({_nats(members.kl)} nats), those of random non-members move it by "
        f"{_nats(random.kl)} nats.{'' if held else ' The model tells more apart here than this ε does.'}"
    )


def settings(document: Use) -> list[tuple[str, str]]:
    """Return what was measured, by name."""
    exact = "exactly" if document.exact else "found"
    rows = [
        ("members", f"{exact} {document.inside:,}" if document.exact else f"{document.inside:,} {exact}"),
        ("non-members looked through", f"{document.drawn:,}"),
        ("outputs", " ".join(map(visible, document.outputs))),
        ("ε", f"{document.epsilon:.4g}"),
        ("metric", document.metric),
        ("positions", f"rule {document.position_rule}"),
    ]
    rows += [("held equal", ", ".join(map(printable, document.given)))] if document.given else []
    return [*rows, ("seed", str(document.seed))]


def group_rows(document: Use) -> list[tuple[str, ...]]:
    """Return a row for members, nearest and random non-members, in the order of `GROUP_COLUMNS`."""
    names = ("members", "nearest non-members", "random non-members")
    rows: list[tuple[str, ...]] = []
    for name, effect in zip(names, (document.members, document.nearest, document.random), strict=True):
        same = "–" if effect.same_top is None else percent(effect.same_top)
        numbers = (_nats(effect.kl), _interval(effect.interval), _nats(effect.largest), same)
        rows.append((name, f"{effect.n:,}", *numbers))
    return rows


def feature_rows(document: Use) -> list[FeatureRow]:
    """Return a row for each feature with a verdict: those used first, then by what sharing them saves."""
    told = [feature for feature in document.features if feature.verdict is not None]
    told.sort(key=lambda feature: (_ORDER.index(feature.verdict or ""), -(feature.difference or 0.0)))
    return [_feature_row(feature) for feature in told]


def abstained(document: Use) -> list[str]:
    """Say of each feature without a verdict why it has none; those with the same reason together."""
    reasons: dict[str, list[str]] = {}
    for feature in document.features:
        if feature.verdict is None:
            reasons.setdefault(feature.why_not or "", []).append(printable(feature.name))
    return [f"{', '.join(names)}: no verdict, because {printable(why_not)}" for why_not, names in reasons.items()]


def notes(document: Use) -> list[str]:
    """Say what the numbers are, and by which thresholds the verdicts go."""
    said = [
        "KL: of the next token, clean run against patched, the largest over the outputs; mean over inputs. Same "
        "answer: the most probable next token stays, at every output. 0: below a millionth. Non-members come from the "
        "prior.",
        "Shared: by non-members that have the query's value of the feature. A feature counts as encoded from "
        f"{ENCODED:.0%} of its entropy on, and as used where the difference is above 0 by its "
        f"interval, at least {LEAST_NATS:g} nats, and {LEAST_SHARE:.0%} of the KL where it "
        "is not shared.",
        "Features go together: one that is only correlated with what is used can seem used, until that is held equal.",
    ]
    if any(feature.by_members for feature in document.features):
        said.append("* by members: as good as all inputs with this value are members, so it is all that is encoded.")
    if not document.weighted:
        said.append("Members count alike, because no density of theirs is known.")
    return said


def _feature_row(feature: FeatureUse) -> FeatureRow:
    sharing, differing, apart = feature.sharing, feature.differing, feature.difference
    kl = differing.kl or 0.0
    verdict = feature.verdict or ""
    cells = (
        printable(feature.name),
        printable(feature.value),
        "–" if feature.share is None else f"{max(0.0, min(1.0, feature.share)):.0%}",
        _nats(sharing.kl) + "*" * feature.by_members,
        _nats(differing.kl),
        _nats(apart),
        _interval(feature.interval),
        verdict,
    )
    return FeatureRow(cells, verdict, 0.0 if apart is None or kl <= 0 else max(0.0, min(1.0, apart / kl)))


def _interval(interval: Sequence[float] | None) -> str:
    return "–" if interval is None else f"{_nats(interval[0])} to {_nats(interval[1])}"


def _nats(value: float | None) -> str:
    """Return three digits, none beyond the fourth decimal; what is below a millionth is rounding."""
    if value is None:
        return "–"
    if abs(value) < 0.0005:
        return "<0.001" if value >= 1e-6 else "0"
    return f"{round(value, 4):.3g}".replace("-", "−")
