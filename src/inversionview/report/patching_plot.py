"""Plot effects of patching with matplotlib, which is an extra."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from inversionview.errors import UserError
from inversionview.files import atomic_file
from inversionview.report import colors
from inversionview.report.patching import caption, groups, heading, label
from inversionview.results.patching import Effect, Patching

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def plot_patching(document: Patching, path: str | Path | None = None) -> Figure:
    """Draw the patched logit difference of every effect, beside those of both runs; save it where a path is given.

    Raises `UserError` without matplotlib (the extra `plot`), and for a kind of file that it cannot write.
    """
    try:
        from matplotlib.figure import Figure  # not pyplot: no window, and no state outside the figure
    except ImportError as error:
        raise UserError("plots need matplotlib: pip install matplotlib") from error
    orders = list(groups(document))
    most = max((len(effects) for _, effects in orders), default=1)
    figure = Figure(figsize=(1 + 4.5 * max(1, len(orders)), 1.6 + 0.32 * most), layout="constrained")
    figure.suptitle(heading(document), fontsize="medium")
    for i, (order, effects) in enumerate(orders):
        _draw(figure.add_subplot(1, len(orders), i + 1), document, order, effects)
    if orders:
        figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False)
    if path is not None:
        _save(figure, Path(path))
    return figure


def _draw(axes: Axes, document: Patching, order: str, effects: list[Effect]) -> None:
    theme, rows = colors.LIGHT, range(len(effects))
    values = [effect.patched for effect in effects]
    errors = [effect.patched_se or 0.0 for effect in effects]
    names = [label(effect, first=i == 0) for i, effect in enumerate(effects)]
    axes.barh(rows, values, xerr=errors, color=theme.raised, ecolor=theme.ink, height=0.7)
    for value, name, style in (
        (document.clean, "clean run", "-"),
        (document.contrast_run, "contrast run", "--"),
    ):
        axes.axvline(value, color=theme.ink, linestyle=style, linewidth=1, label=name)
    axes.set_yticks(rows, names)
    axes.invert_yaxis()
    axes.set_xlabel("logit difference")
    axes.set_title(caption(order), fontsize="small")


def _save(figure: Figure, path: Path) -> None:
    kinds = figure.canvas.get_supported_filetypes()
    kind = path.suffix.removeprefix(".").lower()
    if kind not in kinds:
        raise UserError(f"{path} cannot be plotted: its name must end in one of {', '.join(sorted(kinds))}")
    with atomic_file(path) as part:
        figure.savefig(part, format=kind, dpi=160)
