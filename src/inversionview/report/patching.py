"""What it does to a run to put activations of another run into it, as plain data, and its words."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

from inversionview.report.reading import printable, visible
from inversionview.results.patching import Effect, Patching


def heading(document: Patching) -> str:
    """Say what was patched for."""
    study, target = document.study, document.target
    about = "what patching does to the logit difference"
    if target is not None:
        about += f" at {visible(target)}"
    return about if study is None else f"{printable(study)}: {about}"


def summary(document: Patching) -> str:
    """Say what the unpatched runs are."""
    into = {"contrast-into-clean": "contrast run into the clean one"}
    which = into.get(document.direction, "clean run into the contrast one")
    return (
        f"Logit of the clean answer minus that of the contrast answer: {signed(document.clean)}"
        f"{error(document.clean_se)} in the clean run, {signed(document.contrast_run)}"
        f"{error(document.contrast_run_se)} in the contrast run. Patched: activations of the {which}."
    )


def settings(document: Patching) -> list[tuple[str, str]]:
    """Return what the inputs were, by name."""
    rows = [("pairs", f"{document.n:,}")]
    rows += [
        (name, printable(str(value)))
        for name, value in (
            ("contrast", document.contrast),
            ("where", document.where),
            ("contrast where", document.contrast_where),
            ("seed", document.seed),
        )
        if value is not None
    ]
    words = {"where": "by where", "contrast": "without a contrast", "position": "without a position"}
    left_out = [f"{n:,} {words.get(name, name)}" for name, n in document.left_out.items() if n]
    if left_out:
        rows.append(("left out", ", ".join(left_out)))
    return rows


def groups(document: Patching) -> Iterator[tuple[str, list[Effect]]]:
    """Yield the effects of each order."""
    for order, effects in groupby(document.effects, key=lambda effect: effect.order):
        yield order, list(effects)


def caption(order: str) -> str:
    """Say what stands in the rows of an order."""
    return {
        "forward": "one more site each time, in the order given",
        "reverse": "one more site each time, in reverse order",
        "each": "one site at a time",
        "together": "all sites together",
    }.get(order, "sites patched together")


def label(effect: Effect, first: bool) -> str:
    """Name the sites of an effect; in an order that grows, only the site that was added."""
    places = [
        f"{printable(site.partition('@')[0])} at {visible(position)}"
        for site, position in zip(effect.sites, effect.positions, strict=True)
    ]
    if effect.order in ("forward", "reverse"):
        return places[-1] if first else f"+ {places[-1]}"
    return ", ".join(places)


def moved(document: Patching, effect: Effect) -> float | None:
    """Return how far the patched run has come to the run that its values are of, as a share of the way; or None."""
    clean, contrast = document.clean, document.contrast_run
    if clean == contrast:
        return None
    into_clean = document.direction == "contrast-into-clean"
    start, end = (clean, contrast) if into_clean else (contrast, clean)
    return (effect.patched - start) / (end - start)


def notes() -> list[str]:
    """Say what the columns are."""
    return [
        "Patched: the mean logit difference then, ± its standard error over inputs. Drop: how far it lies below the "
        "clean run's, ± the standard error of these differences.",
        "Moved: how far that is on the way to the run the values are of; 100% is that run.",
    ]


def signed(value: float) -> str:
    """Return a number with a proper minus sign, and none before a zero."""
    return f"{round(value, 2) + 0.0:.2f}".replace("-", "−")


def error(se: float | None) -> str:
    """Return a standard error, with what comes before it."""
    return "" if se is None else f" ± {se:.2f}" if se >= 0.005 else f" ± {se:.1g}"


def percent(share: float | None) -> str:
    """Return a share of the way."""
    return "" if share is None else f"{round(share, 2) + 0.0:.0%}".replace("-", "−")
