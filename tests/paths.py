"""Where the checkout is, and what may lie beside it that is not ours to ship."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BUNDLED = ROOT / "src" / "inversionview" / "assets"
SHARED = ROOT.parent / "shared"
"""Models and data of the paper, for tests that are marked `published`; the others need nothing from there."""
PAPER_MODELS = ("models/paper_addition", "models/paper_counting")
