"""What to look at first in the studies that come with the package."""

from __future__ import annotations

DEMO = {
    "addition": ("615+861=1476", (("a0.2", "="), ("a0.3", "="), ("x0.post", "="))),
    "counting": ("vvzccvczvvvzvcvc|v:8", (("x0.post", "letter"), ("a1.0", ":"), ("m1", ":"))),
    "ioi-small": (
        "When Alice saw Paul in the garden, Paul gave the book to Alice.",
        (("a1.3", "END"), ("a0.3", "END"), ("m1", "END")),
    ),
    "facts-small": ("The currency of Japan is the yen.", (("a0.1", "END"), ("a3.0", "END"), ("m0", "END"))),
}
"""What the demo reads of each bundled study: an input, and sites with their positions."""
START = {name: (text, places[0][1], places[0][0]) for name, (text, places) in DEMO.items()}
"""What the viewer shows first of each task: an input, a position and a site."""
