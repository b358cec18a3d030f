"""What a drawing prints on a console of some width, as lines."""

from __future__ import annotations

import io
from collections.abc import Callable

from rich.console import Console


def printed(draw: Callable[[Console], None], width: int = 100, **options: object) -> list[str]:
    target = Console(file=io.StringIO(), width=width, **options)  # type: ignore[arg-type]
    draw(target)
    return target.file.getvalue().splitlines()  # type: ignore[attr-defined]
