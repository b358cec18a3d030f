"""One diverging colour scale, blue for raised and orange for lowered, and six hues, in a light and a dark theme.

Blue and orange stay apart for every common kind of colour blindness. The steps between are even in OKLab (Ottosson
2020), where equal distances look equally far apart. The hues are for what has a name beside it, such as features in a
map: all of one lightness, so that the share of a hue is read alike. Every text colour keeps a contrast of at least
4.5:1 (WCAG AA) on what lies behind it.
"""

from __future__ import annotations

from typing import NamedTuple

STEPS = 8
"""Levels on each side of no change."""
LEVELS = range(-STEPS, STEPS + 1)


class Theme(NamedTuple):
    """The colours of one theme, as `#rrggbb`: `ink` and `muted` are for text, `raised` and `lowered` end the scale."""

    surface: str
    panel: str
    ink: str
    muted: str
    line: str
    bar: str
    raised: str
    lowered: str
    hues: tuple[str, ...]


LIGHT = Theme(
    "#ffffff", "#f4f5f7", "#14171c", "#585f6b", "#d9dde3", "#8a93a1", "#6cabe8", "#f0993f",
    hues=("#7ab7f1", "#7cc490", "#bba2ea", "#d0ac5f", "#ec9695", "#4fc5cb"),
)  # fmt: skip
DARK = Theme(
    "#14171c", "#1d2127", "#eceff3", "#a2a9b4", "#353b44", "#7b8492", "#2567b0", "#a04f06",
    hues=("#215e92", "#216b3c", "#644b8d", "#765500", "#8c3f42", "#006b72"),
)  # fmt: skip


def background(theme: Theme, step: int) -> str:
    """Return the colour behind a token at a level in [-STEPS, STEPS]; level 0 is the theme's surface."""
    end = theme.raised if step > 0 else theme.lowered
    return mix(theme.surface, end, abs(step) / STEPS)


def mix(a: str, b: str, share: float) -> str:
    """Return the colour at `share` (0 to 1) of the way from `a` to `b` in OKLab."""
    return _from_oklab([(1 - share) * x + share * y for x, y in zip(to_oklab(a), to_oklab(b), strict=True)])


def theme_css() -> str:
    """Return the colours of both themes and the classes of the scale: what `static/theme.css` holds.

    A page or an element may choose its theme with `data-theme`, whatever the system prefers.
    """
    light, dark = _declared(LIGHT, "light"), _declared(DARK, "dark")
    steps = "".join(f".{name}{{background-color:var(--{name})}}" for name in map(change_class, LEVELS) if name)
    hues = ".hue{--hue:var(--line);"
    hues += "background-color:color-mix(in oklab,var(--hue) calc(100%*var(--share)),var(--surface))}"
    hues += "".join(f".h{i}{{--hue:var(--h{i})}}" for i in range(len(LIGHT.hues)))
    return (
        f".inversionview{light}@media (prefers-color-scheme:dark){{.inversionview{dark}}}"
        # a notebook has a theme of its own, whatever the system prefers
        f'[data-jp-theme-light="true"] .inversionview,.vscode-light .inversionview{light}'
        f'[data-jp-theme-light="false"] .inversionview,.vscode-dark .inversionview{dark}'
        f'.inversionview[data-theme="light"],[data-theme="light"] .inversionview{light}'
        f'.inversionview[data-theme="dark"],[data-theme="dark"] .inversionview{dark}\n'
        f".inversionview.inversionview.inversionview{{{steps}{hues}}}\n"
    )


def change_class(step: int) -> str:
    """Return the CSS class of a level of the colour scale; none for no change."""
    return "" if step == 0 else f"{'p' if step > 0 else 'm'}{abs(step)}"


def contrast(a: str, b: str) -> float:
    """Return the contrast ratio of two colours, 1 to 21 (WCAG 2.1)."""
    dark, light = sorted((_luminance(a), _luminance(b)))
    return (light + 0.05) / (dark + 0.05)


def to_oklab(color: str) -> list[float]:
    """Return lightness and the two colour axes of `#rrggbb` in OKLab."""
    r, g, b = _linear(color)
    cones = (
        0.4122214708 * r + 0.5363325363 * g + 0.0514459929 * b,
        0.2119034982 * r + 0.6806995451 * g + 0.1073969566 * b,
        0.0883024619 * r + 0.2817188376 * g + 0.6299787005 * b,
    )
    l, m, s = (cone ** (1 / 3) for cone in cones)  # noqa: E741
    return [
        0.2104542553 * l + 0.7936177850 * m - 0.0040720468 * s,
        1.9779984951 * l - 2.4285922050 * m + 0.4505937099 * s,
        0.0259040371 * l + 0.7827717662 * m - 0.8086757660 * s,
    ]


def _declared(theme: Theme, scheme: str) -> str:
    named = {name: color for name, color in theme._asdict().items() if name not in ("raised", "lowered", "hues")}
    scale = {change_class(step): background(theme, step) for step in LEVELS if step}
    hues = {f"h{i}": color for i, color in enumerate(theme.hues)}
    variables = "".join(f"--{name}:{color};" for name, color in (named | scale | hues).items())
    return f"{{color-scheme:{scheme};{variables}}}"


def _from_oklab(lab: list[float]) -> str:
    lightness, a, b = lab
    l = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3  # noqa: E741
    m = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3
    s = (lightness - 0.0894841775 * a - 1.2914855480 * b) ** 3
    return _to_hex(
        +4.0767416621 * l - 3.3077115913 * m + 0.2309699292 * s,
        -1.2684380046 * l + 2.6097574011 * m - 0.3413193965 * s,
        -0.0041960863 * l - 0.7034186147 * m + 1.7076147010 * s,
    )


def _linear(color: str) -> list[float]:
    channels = (int(color[i : i + 2], 16) / 255 for i in (1, 3, 5))
    return [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]


def _to_hex(*linear: float) -> str:
    clipped = (max(0.0, min(1.0, c)) for c in linear)
    gamma = (12.92 * c if c <= 0.0031308 else 1.055 * c ** (1 / 2.4) - 0.055 for c in clipped)
    return "#" + "".join(f"{round(255 * c):02x}" for c in gamma)


def _luminance(color: str) -> float:
    r, g, b = _linear(color)
    return 0.2126 * r + 0.7152 * g + 0.0722 * b
