"""What the server allows."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Limits:
    """How much one may ask for; every refusal says its limit."""

    input_characters: int = 4000
    samples: int = 10_000
    """Draws of one reading; with exact ones, members that are shown."""
    map_queries: int = 500
    queue: int = 16
    """Questions that wait while one is being answered."""
    seconds: float = 300.0
    """Of one run of a model."""
    body_bytes: int = 64 * 1024
    """Of a request."""
    cache_bytes: int = 256 * 1024 * 1024
    """Of all answers that are kept; those not asked for longest go first."""
    download_members: int = 50_000
    """Of an exact preimage that is written as JSON or Parquet."""
    attention_values: int = 2_000_000


@dataclass(frozen=True)
class Settings:
    """Where the server listens, whom it answers, and how much one may ask for."""

    host: str = "127.0.0.1"
    port: int = 8000
    allowed_hosts: tuple[str, ...] = ()
    """Beside its own: `name` (at the server's port), `name:port`."""
    limits: Limits = field(default_factory=Limits)
    ahead: bool = False
    """Answer what each study is opened with before anybody asks, while nothing else is asked."""
