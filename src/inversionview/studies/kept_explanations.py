"""What sites say in words, kept with their study in `explanations.json`: the viewer's map shows it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from inversionview.errors import UserError
from inversionview.results import convert
from inversionview.results.explanations import SiteExplanation
from inversionview.studies.description import EXPLANATIONS
from inversionview.studies.kept import keeps, read_kept, write_kept

if TYPE_CHECKING:
    from inversionview.studies.study import Study


def kept_explanations(study: Study) -> list[SiteExplanation]:
    """Those in the study's folder; empty where there are none, they are damaged, or of another model."""
    return [] if study.folder is None else _read(study.folder, study.parts.fingerprint)


def keep_explanations(study: Study, explained: Sequence[SiteExplanation]) -> None:
    """Put explanations of sites into the study's folder, if one may write there, in the place of older ones."""
    if study.folder is not None and keeps(study):
        with suppress(UserError):
            write_explanations(study.folder, study.parts.fingerprint, explained)


def write_explanations(folder: Path, fingerprint: str, explained: Sequence[SiteExplanation]) -> None:
    """Write `explanations.json`, what it holds of other sites and positions kept. Raises `UserError` when it cannot."""
    by_place = {(one.site, one.at): one for one in [*_read(folder, fingerprint), *explained]}
    write_kept(folder / EXPLANATIONS, fingerprint, "explanations", [convert.plain(one) for one in by_place.values()])


def _read(folder: Path, fingerprint: str) -> list[SiteExplanation]:
    kept = read_kept(folder / EXPLANATIONS, fingerprint, "explanations") or []
    with suppress(UserError):
        return convert.parsed(list[SiteExplanation], kept, str(folder / EXPLANATIONS))
    return []
