"""Preimages on disk: the document of `Preimage.to_dict`, and beside it what is needed to take it up again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from inversionview.errors import UserError
from inversionview.files import atomic_file, checked_schema, read_json, write_atomic
from inversionview.results.preimage import SCHEMA, Column, Component, FeatureBits, Preimage, Query, or_none

_KIND = "preimage"
_METADATA = b"inversionview"
_ROWS = "samples"


def save(preimage: Preimage, path: Path) -> None:
    """Write a preimage as `.json` or `.parquet`; see `Preimage.save`."""
    document = _document(preimage)
    match path.suffix:
        case ".json":
            write_atomic(path, json.dumps(_without_infinity(document), ensure_ascii=False, allow_nan=False) + "\n")
        case ".parquet":
            _write_parquet(document, path)
        case _:
            raise _unknown_suffix(path)


def load(path: Path) -> Preimage:
    """Read a preimage that `save` wrote; see `Preimage.load`."""
    match path.suffix:
        case ".json":
            document = read_json(path, _KIND)
        case ".parquet":
            document = _read_parquet(path)
        case _:
            raise _unknown_suffix(path)
    checked = checked_schema(document, path, "a saved preimage", SCHEMA)
    try:
        return _preimage(checked)
    except KeyError as error:
        raise UserError(f"{path} is not a whole saved preimage: it lacks {error}; use Preimage.save") from error
    except (TypeError, ValueError, AttributeError) as error:
        raise UserError(f"the {_KIND} {path} is damaged: {' '.join(str(error).split())}") from error


def _document(preimage: Preimage) -> dict[str, Any]:
    document = preimage.to_dict()
    document["query"]["token_strings"] = list(preimage.query.token_strings)
    document |= {"domain_size": preimage.domain_size, "colors_about": preimage.colors_about}
    document |= {
        "features": [[*known[:3], *or_none(np.array([known.divergence])), known.interval] for known in preimage.bits]
    }
    document |= {"integers": str(preimage.tokens.dtype)}
    document |= {"domain_mass": preimage.domain_mass, "components": [list(part) for part in preimage.components]}
    densities = None if preimage.log_densities is None else preimage.log_densities.T
    document |= {"columns": [[column.name, column.values, column.query] for column in preimage.columns]}
    for i, sample in enumerate(document[_ROWS]):
        sample["tokens"] = preimage.tokens[i].tolist()
        sample["token_strings"] = list(preimage.token_strings[i])
        sample["log_prior"] = None if preimage.log_prior is None else or_none(preimage.log_prior[i : i + 1])[0]
        sample["log_densities"] = None if densities is None else _densities(densities[i])
        for name, values in (("token_distances", preimage.token_distances), ("colors", preimage.colors)):
            sample[name] = None if values is None else or_none(values[i])
    document[_ROWS] = document.pop(_ROWS)  # last, so that a person who opens the file sees the rest first
    return document


def _preimage(document: dict[str, Any]) -> Preimage:
    query, rows = document["query"], document[_ROWS]
    width = len(rows[0]["tokens"]) if rows else 0

    def table(name: str, columns: int) -> np.ndarray | None:
        known = bool(rows) and rows[0][name] is not None
        return _floats([row[name] for row in rows], len(rows), columns) if known else None

    components = tuple(Component(str(source), int(n)) for source, n in document["components"])
    densities = table("log_densities", len(components))
    preimage = Preimage(
        query=Query(
            study=document["study"],
            input=query["input"],
            tokens=tuple(query["tokens"]),
            token_strings=tuple(query["token_strings"]),
            position=query["position"],
            role=query["at"],
            site=query["site"],
        ),
        epsilon=document["epsilon"],
        metric=document["metric"],
        position_rule=document["position_rule"],
        seed=document["seed"],
        domain_size=document["domain_size"],
        inputs=tuple(row["input"] for row in rows),
        tokens=np.array([row["tokens"] for row in rows], dtype=document["integers"]).reshape(len(rows), width),
        token_strings=tuple(tuple(row["token_strings"]) for row in rows),
        positions=np.array(
            [-1 if row["position"] is None else row["position"] for row in rows], dtype=document["integers"]
        ),
        distances=_floats([row["distance"] for row in rows], len(rows)),
        in_domain=np.array([row["in_domain"] for row in rows], dtype=bool),
        sources=tuple({name: int(times) for name, times in dict(row["sources"]).items()} for row in rows),
        log_prob=_floats([row["log_prob"] for row in rows], len(rows)),
        token_distances=table("token_distances", width),
        colors=table("colors", width),
        log_prior=_log_prior(rows),
        domain_mass=document["domain_mass"],
        exact=document["exact"],
        components=components,
        epsilon_from=document["epsilon_from"],
        bits=tuple(_feature_bits(*known) for known in document["features"]),
        curve=tuple(document["curve"]),
        log_densities=None if densities is None else densities.T,
        colors_about=document["colors_about"],
        given=document.get("given") or "",
        columns=tuple(_column(rows, *about) for about in document.get("columns", [])),
    )
    if (preimage.n_drawn, preimage.n_distinct, preimage.n_inside) != tuple(
        document[name] for name in ("drawn", "distinct", "inside")
    ):
        raise ValueError("its samples are not as many as it says")
    return preimage


def _column(rows: list[dict[str, Any]], name: str, values: list[str], query: str) -> Column:
    codes = {value: code for code, value in enumerate(values)} | {None: -1}
    return Column(name, tuple(values), np.array([codes[dict(row["features"])[name]] for row in rows], int), query)


def _densities(row: Float[np.ndarray, " component"]) -> list[float | None]:
    """Minus infinity is kept: a source that cannot draw an input is not one whose density is not known."""
    return [None if np.isnan(value) else value for value in row.tolist()]


def _without_infinity(document: dict[str, Any]) -> dict[str, Any]:
    """The same with the word for minus infinity, which JSON does not have; `float` reads it."""
    for row in document[_ROWS]:
        if row["log_densities"] is not None:
            row["log_densities"] = ["-inf" if value == -np.inf else value for value in row["log_densities"]]
    return document


def _feature_bits(
    name: str, bits: float, of: float, divergence: float | None, interval: list[float] | None
) -> FeatureBits:
    apart = np.inf if divergence is None else divergence  # a value that the draws from the prior lack
    return FeatureBits(name, bits, of, apart, None if interval is None else (interval[0], interval[1]))


def _log_prior(rows: list[dict[str, Any]]) -> np.ndarray | None:
    """Minus infinity outside the domain is null in a file."""
    if not rows or all(row["log_prior"] is None and row["in_domain"] for row in rows):
        return None
    return np.array([-np.inf if row["log_prior"] is None else row["log_prior"] for row in rows])


def _floats(values: list[Any], *shape: int) -> np.ndarray:
    return np.array(values, dtype=np.float64).reshape(shape)  # None becomes NaN


def _write_parquet(document: dict[str, Any], path: Path) -> None:
    pyarrow, parquet = _pyarrow()
    header = {name: value for name, value in document.items() if name != _ROWS}
    integers, floats = pyarrow.list_(pyarrow.int64()), pyarrow.list_(pyarrow.float64())
    text = pyarrow.string()
    features = {"features": pyarrow.map_(text, text)} if document["columns"] else {}
    schema = pyarrow.schema(
        {
            "input": pyarrow.string(),
            "position": pyarrow.int64(),
            "distance": pyarrow.float64(),
            "inside": pyarrow.bool_(),
            "in_domain": pyarrow.bool_(),
            "sources": pyarrow.map_(pyarrow.string(), pyarrow.int64()),
            "log_prob": pyarrow.float64(),
            "tokens": integers,
            "token_strings": pyarrow.list_(pyarrow.string()),
            "token_distances": floats,
            "colors": floats,
            "log_prior": pyarrow.float64(),
            "log_densities": floats,
            **features,
        },
        metadata={_METADATA: json.dumps(header, ensure_ascii=False, allow_nan=False).encode()},
    )
    maps = ["sources", *features]
    rows = [row | {name: list(row[name].items()) for name in maps} for row in document[_ROWS]]
    with atomic_file(path) as part:
        parquet.write_table(pyarrow.Table.from_pylist(rows, schema=schema), part)


def _read_parquet(path: Path) -> dict[str, Any]:
    pyarrow, parquet = _pyarrow()
    try:
        table = parquet.read_table(path)
        header = json.loads((table.schema.metadata or {})[_METADATA])
        return {**header, _ROWS: table.to_pylist()}
    except FileNotFoundError as error:
        raise UserError(f"there is no {_KIND} at {path}") from error
    except KeyError as error:
        raise UserError(f"{path} is not a saved preimage: it was not written by Preimage.save") from error
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise UserError(f"the {_KIND} {path} is damaged or truncated: {' '.join(str(error).split())}") from error


def _pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        import pyarrow.parquet as parquet
    except ImportError as error:
        raise UserError("Parquet files need pyarrow: pip install 'inversionview[parquet]', or use .json") from error
    return pyarrow, parquet


def _unknown_suffix(path: Path) -> UserError:
    return UserError(f"{path} must end in .json or .parquet, which says how a preimage is stored")
