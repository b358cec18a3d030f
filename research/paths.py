"""Where the pages lie, what was measured for them, and what some of it needs."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
RESULTS = ROOT / "research" / "results"
"""What was measured, one JSON document a page or map; pages are made of it."""
SHARED = ROOT.parent / "shared"
"""Models and data that others published, where they are at hand."""
MODELS = ROOT / "models"
"""Models that others published and `make real-models` gets from packages."""
