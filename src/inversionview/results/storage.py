"""Preimages on disk: the document of `Preimage.to_dict`, and beside it what is needed to take it up again."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from inversionview.criterion import Metric, PositionRule
from inversionview.errors import UserError
from inversionview.files import atomic_file, checked_schema, read_json, write_atomic
from inversionview.results import convert
from inversionview.results.estimates import Component, CurvePoint, FeatureBits, Interval, Patterns
from inversionview.results.explanation import Explanation
from inversionview.results.reading import Column

_KIND = "preimage"
_METADATA = b"inversionview"
_ROWS = "samples"
_TABLES = ("log_prior", "token_distances", "colors", "token_log_prob")
"""Numbers of each candidate that its document lacks."""


@dataclass(frozen=True)
class _Query:
    input: str | None
    tokens: tuple[int, ...]
    position: int | None
    at: str
    site: str
    token_strings: tuple[str, ...]
    vector: tuple[float, ...] | None = None
    site_note: str = ""

    def fields(self) -> dict[str, Any]:
        """Those of a `Query`, without its study."""
        fields = {"role" if name == "at" else name: value for name, value in vars(self).items()}
        return fields | {"position": -1 if self.position is None else self.position}


@dataclass(frozen=True)
class _Row:
    """A candidate."""

    input: str
    position: int | None
    distance: float | None
    in_domain: bool
    sources: dict[str, int]
    log_prob: float | None
    tokens: list[int]
    token_strings: tuple[str, ...]
    log_prior: float | None
    """None outside the domain too, where it is minus infinity."""
    log_densities: list[float | str | None] | None
    """By component; `-inf` for a source that cannot draw the input, None where the density is not known."""
    token_distances: list[float | None] | None
    colors: list[float | None] | None
    token_log_prob: list[float | None] | None = None
    features: dict[str, str | None] | None = None
    differs: str | None = None


@dataclass(frozen=True)
class _File:
    """A whole file."""

    study: str
    query: _Query
    epsilon: float
    epsilon_from: str
    metric: Metric
    position_rule: PositionRule
    seed: int
    exact: bool
    drawn: int
    distinct: int
    inside: int
    domain_size: int | None
    domain_mass: float
    components: tuple[tuple[str, int], ...]
    features: tuple[tuple[str, float, float, float | None, Interval | None], ...]
    """Bits about each feature: name, bits, of, divergence (None where it is infinite), interval."""
    curve: tuple[CurvePoint, ...]
    colors_about: str
    integers: str
    """Type of the token ids."""
    samples: list[_Row]
    given: str | None = None
    rounding: float | None = None
    columns: tuple[tuple[str, tuple[str, ...], str], ...] = ()
    patterns: Patterns | None = None
    explanation: Explanation | None = None
    feature_values: tuple[tuple[str, str, tuple[tuple[str, float], ...]], ...] = ()
    """Of each of `features`: the query's value, what the feature is, and what is left of it."""

    def fields(self) -> dict[str, Any]:
        """Those of a `Preimage`; its query as a dictionary."""
        rows, width = self.samples, len(self.samples[0].tokens) if self.samples else 0
        same = ("epsilon", "epsilon_from", "metric", "position_rule", "seed", "exact", "domain_size", "domain_mass")
        densities = self._table("log_densities", len(self.components))
        positions = [-1 if row.position is None else row.position for row in rows]
        fields: dict[str, Any] = {name: getattr(self, name) for name in (*same, "curve", "colors_about")} | {
            "query": {"study": self.study, **self.query.fields()},
            "given": self.given or "",
            "rounding": self.rounding or 0.0,
            "components": tuple(Component(*part) for part in self.components),
            "bits": self._bits(),
            "patterns": self.patterns,
            "explanation": self.explanation,
            "differences": tuple(row.differs for row in rows if row.differs is not None),
            "columns": tuple(self._column(*column) for column in self.columns),
            "inputs": tuple(row.input for row in rows),
            "tokens": np.array([row.tokens for row in rows], dtype=self.integers).reshape(len(rows), width),
            "token_strings": tuple(row.token_strings for row in rows),
            "positions": np.array(positions, dtype=self.integers),
            "distances": _floats([row.distance for row in rows]),
            "in_domain": np.array([row.in_domain for row in rows], dtype=bool),
            "sources": tuple(row.sources for row in rows),
            "log_prob": _floats([row.log_prob for row in rows]),
            "log_prior": self._log_prior(),
            "log_densities": None if densities is None else densities.T,
            "token_distances": self._table("token_distances", width),
            "colors": self._table("colors", width),
            "token_log_prob": self._table("token_log_prob", width),
        }
        inside = fields["in_domain"] & (fields["distances"] <= self.epsilon)
        drawn = sum(sum(row.sources.values()) for row in rows)
        if int(inside.sum()) != self.inside or not (self.exact or (drawn, len(rows)) == (self.drawn, self.distinct)):
            raise ValueError("its samples are not as many as it says")
        return fields

    def _bits(self) -> tuple[FeatureBits, ...]:
        values = self.feature_values or [("", "", ())] * len(self.features)
        return tuple(
            FeatureBits(name, bits, of, math.inf if apart is None else apart, interval, *words)
            for (name, bits, of, apart, interval), words in zip(self.features, values, strict=True)
        )

    def _table(self, name: str, width: int) -> np.ndarray | None:
        if not self.samples or getattr(self.samples[0], name) is None:
            return None
        return _floats([getattr(row, name) for row in self.samples]).reshape(len(self.samples), width)

    def _log_prior(self) -> np.ndarray | None:
        rows = self.samples
        if not rows or all(row.log_prior is None and row.in_domain for row in rows):
            return None
        return _floats([-np.inf if row.log_prior is None else row.log_prior for row in rows])

    def _column(self, name: str, values: tuple[str, ...], query: str) -> Column:
        codes: dict[str | None, int] = {value: code for code, value in enumerate(values)} | {None: -1}
        rows = [codes[(row.features or {})[name]] for row in self.samples]
        return Column(name, values, np.array(rows, dtype=int), query)


def _floats(values: Sequence[Any]) -> np.ndarray:
    return np.array(values, dtype=np.float64)  # None becomes NaN, "-inf" what it says


def save(document: dict[str, Any], fields: Mapping[str, Any], path: Path) -> None:
    """Write a preimage, given as its document and its fields, as `.json` or `.parquet`; see `Preimage.save`."""
    whole = _whole(document, fields)
    match path.suffix:
        case ".json":
            for row in whole[_ROWS]:
                if row["log_densities"] is not None:  # JSON has no word for it
                    row["log_densities"] = ["-inf" if value == -np.inf else value for value in row["log_densities"]]
            write_atomic(path, json.dumps(whole, ensure_ascii=False, allow_nan=False) + "\n")
        case ".parquet":
            _write_parquet(whole, path)
        case _:
            raise _unknown_suffix(path)


def load(path: Path) -> dict[str, Any]:
    """The fields of a preimage that `save` wrote, those of its query apart; see `Preimage.load`."""
    match path.suffix:
        case ".json":
            document = read_json(path, _KIND)
        case ".parquet":
            document = _read_parquet(path)
        case _:
            raise _unknown_suffix(path)
    checked = checked_schema(document, path, "a saved preimage", convert.SCHEMA)
    file = convert.parsed(_File, checked, f"the {_KIND} {path}", made_by="Preimage.save")
    try:
        return file.fields()
    except (TypeError, ValueError, KeyError) as error:
        raise UserError(f"the {_KIND} {path} is damaged: {' '.join(str(error).split())}") from error


def _whole(document: dict[str, Any], fields: Mapping[str, Any]) -> dict[str, Any]:
    document["query"]["token_strings"] = list(fields["query"].token_strings)
    document |= {name: fields[name] for name in ("domain_size", "domain_mass", "colors_about")}
    document["integers"] = str(fields["tokens"].dtype)
    document["components"] = [[part.source, part.n] for part in fields["components"]]
    document["features"] = convert.plain([[f.name, f.bits, f.of, f.divergence, f.interval] for f in fields["bits"]])
    document["feature_values"] = convert.plain([[f.value, f.about, f.left] for f in fields["bits"]])
    document["columns"] = [[column.name, column.values, column.query] for column in fields["columns"]]
    rows = document.pop(_ROWS)
    tables = {name: convert.plain(fields[name]) for name in _TABLES}
    densities = fields["log_densities"]
    for i, row in enumerate(rows):
        row["tokens"] = fields["tokens"][i].tolist()
        row["token_strings"] = list(fields["token_strings"][i])
        row |= {name: None if table is None else table[i] for name, table in tables.items()}
        row["log_densities"] = None if densities is None else _nan_as_none(densities[:, i])
    return document | {_ROWS: rows}  # last, so that a person who opens the file sees the rest first


def _nan_as_none(values: np.ndarray) -> list[float | None]:
    return [None if np.isnan(value) else value for value in values.tolist()]


def _write_parquet(document: dict[str, Any], path: Path) -> None:
    pyarrow, parquet = _pyarrow()
    header = {name: value for name, value in document.items() if name != _ROWS}
    text, number, integers, numbers = (
        pyarrow.string(), pyarrow.float64(), pyarrow.list_(pyarrow.int64()), pyarrow.list_(pyarrow.float64()),
    )  # fmt: skip
    columns = {
        "input": text,
        "position": pyarrow.int64(),
        "distance": number,
        "inside": pyarrow.bool_(),
        "in_domain": pyarrow.bool_(),
        "sources": pyarrow.map_(text, pyarrow.int64()),
        "log_prob": number,
        "weight": number,
        "tokens": integers,
        "token_strings": pyarrow.list_(text),
        "token_distances": numbers,
        "colors": numbers,
        "token_log_prob": numbers,
        "log_prior": number,
        "log_densities": numbers,
    }
    columns |= {"features": pyarrow.map_(text, text)} if document["columns"] else {}
    columns |= {"differs": text} if any("differs" in row for row in document[_ROWS]) else {}
    metadata = {_METADATA: json.dumps(header, ensure_ascii=False, allow_nan=False).encode()}
    maps = [name for name in ("sources", "features") if name in columns]
    rows = [row | {name: list(row[name].items()) for name in maps} for row in document[_ROWS]]
    with atomic_file(path) as part:
        parquet.write_table(pyarrow.Table.from_pylist(rows, schema=pyarrow.schema(columns, metadata=metadata)), part)


def _read_parquet(path: Path) -> dict[str, Any]:
    pyarrow, parquet = _pyarrow()
    try:
        table = parquet.read_table(path)
        header = json.loads((table.schema.metadata or {})[_METADATA])
        rows = table.to_pylist()
    except FileNotFoundError as error:
        raise UserError(f"there is no {_KIND} at {path}") from error
    except KeyError as error:
        raise UserError(f"{path} is not a saved preimage: it was not written by Preimage.save") from error
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise UserError(f"the {_KIND} {path} is damaged or truncated: {' '.join(str(error).split())}") from error
    for row in rows:
        row |= {name: dict(row[name]) for name in ("sources", "features") if name in row}
    return {**header, _ROWS: rows}


def _pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        import pyarrow.parquet as parquet
    except ImportError as error:
        raise UserError("Parquet files need pyarrow: pip install pyarrow, or use .json") from error
    return pyarrow, parquet


def _unknown_suffix(path: Path) -> UserError:
    return UserError(f"{path} must end in .json or .parquet, which says how a preimage is stored")
