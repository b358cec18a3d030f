from __future__ import annotations

import itertools
import math

import pytest

from inversionview.report import colors
from inversionview.report.terminal_lines import STRENGTHS, tint

# what is left of linear red, green and blue for people without one kind of cone (Machado, Oliveira, Fernandes 2009)
DICHROMATS = {
    "protanopia": ((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998)),
    "deuteranopia": ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.011820, 0.042940, 0.968881)),
    "tritanopia": ((1.255528, -0.076749, -0.178779), (-0.078411, 0.930809, 0.147602), (0.004733, 0.691367, 0.303900)),
}


@pytest.mark.parametrize("theme", [colors.LIGHT, colors.DARK])
def test_text_is_readable_on_every_level(theme: colors.Theme) -> None:
    ratios = [colors.contrast(theme.ink, colors.background(theme, step)) for step in colors.LEVELS]
    assert len(ratios) == 17
    assert min(ratios) >= 4.5


@pytest.mark.parametrize("theme", [colors.LIGHT, colors.DARK])
def test_text_is_readable_beside_the_tokens(theme: colors.Theme) -> None:
    for text, behind in itertools.product((theme.ink, theme.muted), (theme.surface, theme.panel)):
        assert colors.contrast(text, behind) >= 4.5
    assert colors.contrast(theme.bar, theme.surface) >= 3  # WCAG's bound for graphics


@pytest.mark.parametrize("theme", [colors.LIGHT, colors.DARK])
def test_text_is_readable_on_every_share_of_every_hue_and_all_are_of_one_lightness(theme: colors.Theme) -> None:
    shares = [colors.mix(theme.surface, hue, share / 10) for hue in theme.hues for share in range(11)]
    assert min(colors.contrast(theme.ink, behind) for behind in shares) >= 4.5
    lightness = [colors.to_oklab(hue)[0] for hue in theme.hues]
    assert max(lightness) - min(lightness) < 0.02


def test_text_is_readable_on_the_tints_of_a_terminal() -> None:
    for strength in STRENGTHS:
        for change in (strength, -strength):
            style = tint(change)
            assert style.color is not None
            assert style.bgcolor is not None
            assert colors.contrast(style.color.name, style.bgcolor.name) >= 4.5


def test_contrast_of_black_and_white_is_21() -> None:
    assert colors.contrast("#000000", "#ffffff") == pytest.approx(21)
    assert colors.contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.005)


@pytest.mark.parametrize("theme", [colors.LIGHT, colors.DARK])
@pytest.mark.parametrize("kind", DICHROMATS)
def test_raised_and_lowered_stay_apart_for_the_colour_blind(theme: colors.Theme, kind: str) -> None:
    def seen(color: str) -> list[float]:
        linear = [((int(color[i : i + 2], 16) / 255 + 0.055) / 1.055) ** 2.4 for i in (1, 3, 5)]
        left = [sum(w * c for w, c in zip(row, linear, strict=True)) for row in DICHROMATS[kind]]
        channels = (1.055 * max(0.0, c) ** (1 / 2.4) - 0.055 for c in left)
        return colors.to_oklab("#" + "".join(f"{round(255 * min(1.0, max(0.0, c))):02x}" for c in channels))

    assert math.dist(seen(theme.raised), seen(theme.lowered)) > 0.12


def test_mixing_starts_and_ends_at_its_colours() -> None:
    assert colors.mix("#14171c", "#2567b0", 0.0) == "#14171c"
    assert colors.mix("#14171c", "#2567b0", 1.0) == "#2567b0"


@pytest.mark.parametrize("theme", [colors.LIGHT, colors.DARK])
def test_levels_leave_the_surface_evenly(theme: colors.Theme) -> None:
    labs = [colors.to_oklab(colors.background(theme, step)) for step in range(colors.STEPS + 1)]
    steps = [math.dist(a, b) for a, b in itertools.pairwise(labs)]
    assert max(steps) < 1.3 * min(steps)
