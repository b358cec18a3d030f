"""Where the development files that the package does not need may lie."""

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def shared(name: str) -> Path:
    path = ROOT.parent / "shared" / name
    if not path.exists():
        pytest.skip(f"shared/{name} is not beside this checkout; this test compares with it")
    return path
