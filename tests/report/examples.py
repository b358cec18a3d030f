"""Made-up readings that look like real ones: a head that knows the first digits of both numbers."""

from __future__ import annotations

import math
import random
from typing import Any

from inversionview.report.wire import pack_reading
from inversionview.results import convert
from inversionview.results.evaluation import Validation
from inversionview.results.hypotheses import HypothesisTest
from inversionview.results.map import Cell, Map, with_best
from inversionview.results.reading import Reading


def as_reading(document: dict[str, Any]) -> Reading:
    """The reading that a document tells."""
    return convert.parsed(Reading, document, "reading")


def pack(document: dict[str, Any], **options: int) -> dict[str, Any]:
    """The same as it goes to a browser."""
    return pack_reading(as_reading(document), **options)


def addition(*, draws: int = 1000, seed: int = 0, site: str = "a0.0", exact: bool = False) -> dict[str, Any]:
    """`615+861=1476` read at `=`: members have 6 and 8 as first digits, near misses have other digits with sum 14."""
    rng = random.Random(seed)
    found: dict[str, Any] = {}
    for _ in range(draws):
        first = rng.choice([(6, 8)] * 6 + [(8, 6), (7, 7), (5, 9), (6, 7)])
        a, b = (100 * f + int(99 * rng.random() ** 1.5) for f in first)
        text = f"{a}+{b}={a + b + (rng.random() < 0.02)}"
        if text in found:
            found[text]["count"] += 1
            continue
        knows = 0.004 + 0.13 * rng.random() ** 1.3 if first == (6, 8) else 0.16 + 0.5 * rng.random()
        legal = int(text.split("=")[1]) == a + b
        tokens = ["B", *text, "E"]
        colors = [round(rng.gauss(0, 0.05), 3) for _ in tokens]
        colors[1], colors[5], colors[9:11] = 0.86, 0.79, [0.42, 0.31]
        if first != (6, 8):
            colors[1], colors[5] = -0.35, -0.62
        found[text] = {
            "tokens": tokens, "position": 8, "distance": round(knows, 6), "inside": legal and knows <= 0.1,
            "in_domain": legal, "count": 1, "log_prob": round(-9 - 4 * rng.random(), 3), "colors": colors,
            "token_distances": [None, *[1.1] * 7, round(knows, 6), *[1.2] * 4, None],
        }  # fmt: skip
    samples = sorted(found.values(), key=lambda sample: (sample["distance"], sample["tokens"]))
    digits = [sample["tokens"][1] + "+" + sample["tokens"][5] for sample in samples]
    inside = sum(sample["count"] for sample in samples if sample["inside"])
    return {
        "study": "addition", "site": site, "metric": "euclidean", "epsilon": 0.1, "position_rule": "same", "seed": seed,
        "domain_size": 810_000, "exact": exact,
        "query": {"tokens": [*"B615+861=1476E"], "position": 8, "at": "="},
        "counts": {
            "drawn": draws, "distinct": len(samples), "in_domain": sum(sample["in_domain"] for sample in samples),
            "inside": sum(sample["inside"] for sample in samples),
        },
        "sources": [
            {"name": "decoder t=1", "drawn": draws * 3 // 5, "inside": inside * 3 // 5},
            {"name": "decoder t=2, noise 0.1", "drawn": draws - draws * 3 // 5, "inside": inside - inside * 3 // 5},
        ],
        "samples": samples,
        "colors_about": "Probability under the decoder given this activation, minus given the activation at the "
        "begin token, which has seen no input and so knows nothing of it.",
        "features": [{"name": "F1+S1", "values": digits, "query": "6+8"}],
    }  # fmt: skip


def text(*, length: int = 512, samples: int = 50, seed: int = 0) -> dict[str, Any]:
    """Free text with tokens as a language model has them, the match at any position."""
    rng = random.Random(seed)
    words = [" the", " of", " and", " a", " in", " model", " token", "\n", " Paris", " capital", " 🙂", ",", ".", "\t"]
    words += [" François", " naïve", " activations", "ing", "<script>", "&amp;"]

    def sample(i: int) -> dict[str, Any]:
        position, distance = rng.randrange(1, length - 1), 0.006 * (i + 1)
        return {
            "tokens": ["<|bos|>", *(rng.choice(words) for _ in range(length - 2)), "<|eos|>"], "position": position,
            "distance": round(distance, 4), "inside": distance <= 0.2, "in_domain": True, "count": 1,
            "log_prob": round(-3.0 * length, 1),
            "colors": [max(-1.0, min(1.0, rng.gauss(0, 0.4))) for _ in range(length)],
            "token_distances": None,
        }  # fmt: skip

    reading = addition(draws=1)
    rows = [sample(i) for i in range(samples)]
    inside = sum(row["inside"] for row in rows)
    reading |= {
        "study": "text", "site": "x5.post", "metric": "cosine", "epsilon": 0.2, "position_rule": "any",
        "domain_size": None,
        "query": {"tokens": rows[0]["tokens"], "position": length * 3 // 4, "at": str(length * 3 // 4)},
        "counts": {"drawn": samples, "distinct": samples, "in_domain": samples, "inside": inside},
        "sources": [{"name": "decoder t=1", "drawn": samples, "inside": inside}], "samples": rows,
    }  # fmt: skip
    reading.pop("features")
    return reading


def exact() -> dict[str, Any]:
    """All 6,394 members of a preimage, of which only the nearest are listed, with what is known of the whole."""
    reading = addition(exact=True)
    reading["counts"] = {"drawn": 810_000, "distinct": 810_000, "in_domain": 810_000, "inside": 6394}
    reading["sources"] = []
    reading["shares"] = [1.0, 0.97, 0.11, 0.1, 1.0, 0.96, 0.12, 0.1, 1.0, 1.0, 0.55, 0.1, 0.1, 1.0]
    reading["size"] = {
        "inputs": 6394, "interval": None, "log2_domain_over_preimage": math.log2(810_000 / 6394),
        "bits_interval": None, "effective_size": 6394.0, "pareto_k": None, "why_not": None, "domain": 810_000,
    }  # fmt: skip
    reading["bits"] = [
        {"name": "C3", "bits": -0.01, "of": 0.99, "divergence": 0.01, "interval": None},
        *({"name": name, "bits": bits, "of": of, "divergence": bits, "interval": None} for name, bits, of in (
            ("F1+S1", 4.09, 4.09), ("S1", 2.91, 3.17), ("F1", 3.02, 3.17), ("A2", 0.98, 3.32), ("C1", 0.99, 0.99),
            ("F2+S2", 0.12, 4.09),
        )),
    ]  # fmt: skip
    reading["curve"] = [
        {"epsilon": 0.2, "inside": 60_412, "log2_domain_over_preimage": 3.745, "floor": 0.0746},
        {"epsilon": 0.1, "inside": 6394, "log2_domain_over_preimage": 6.985, "floor": 0.0079},
        {"epsilon": 0.05, "inside": 1, "log2_domain_over_preimage": 19.628, "floor": 0.000001},
    ]
    return reading


def estimated() -> dict[str, Any]:
    """A sampled reading with estimates of everything that was not seen."""
    reading = addition()
    reading["size"] = {
        "inputs": 6412.7, "interval": [5893.2, 7021.0], "log2_domain_over_preimage": 6.981,
        "bits_interval": [6.8501, 7.1], "effective_size": 1234.4, "pareto_k": 0.314, "why_not": None, "domain": 810_000,
    }  # fmt: skip
    reading["completeness"] = {
        "reach": 0.0411, "interval": [0.0371, 0.0455], "unseen": {"mass": 0.9312, "interval": [0.91, 0.95]},
        "recall": {"share": 0.0563, "interval": [0.0184, 0.126], "held_out": 71},
        "at_least": {"inputs": 3120.0, "interval": [2803.0, 3555.0]}, "why_not": None,
    }  # fmt: skip
    reading["bits"] = [
        {"name": "F1+S1", "bits": 4.051, "of": 4.09, "divergence": 4.1, "interval": [4.0123, 4.0871]},
        {"name": "A1", "bits": 0.93, "of": 0.99, "divergence": 1.0, "interval": None},
    ]
    reading["curve"] = [
        {"epsilon": 0.1, "inside": 298, "log2_domain_over_preimage": 6.98, "floor": None},
        {"epsilon": 0.2, "inside": 320, "log2_domain_over_preimage": None, "floor": None},
    ]
    reading["sources"][0] |= {"distinct_inside": 180, "only": 41, "forwards": 600}
    return reading


def told() -> dict[str, Any]:
    """A sampled reading with all that can be said of it: values, patterns, typical rows, trust."""
    reading = estimated()
    about = {
        "F1+S1": (4.05, 4.09, "14", "sum of the hundreds digits", [["14", 1.0]]),
        "A1": (0.95, 0.99, "1", "", [["1", 1.0]]),
        "F1": (2.1, 3.17, "6", "", [["6", 0.93], ["8", 0.07]]), "A2": (1.3, 3.32, "4", "", [["4", 0.6], ["5", 0.4]]),
        "F2": (-0.02, 3.32, "1", "", [["1", 0.11], ["2", 0.1]]),
    }  # fmt: skip
    reading["bits"] = [
        {"name": name, "bits": bits, "of": of, "divergence": bits, "interval": [bits - 0.04, bits + 0.04],
         "value": value, "about": words, "left": left}
        for name, (bits, of, value, words, left) in about.items()
    ]  # fmt: skip
    reading["patterns"] = {
        "found": [
            {"words": "6··+8··", "share": 0.93, "interval": [0.89, 0.95], "members": 400, "of_query": True,
             "examples": ["616+825=1441", "655+804=1459"]},
            {"words": "8··+6··", "share": 0.07, "interval": None, "members": 20, "of_query": False,
             "examples": ["862+665=1527"]},
        ], "rest": 0.0, "by": ["token 1", "token 5"], "why_not": "",
    }  # fmt: skip
    reading["typical"] = [i for i, sample in enumerate(reading["samples"]) if sample["inside"]]
    reading["weighted"] = True
    reading["trust"] = {"level": "good", "reason": "size within 9%, 420 of 1,000 draws inside ε = 0.1"}
    return reading


ENTROPIES = {
    "F1": 3.17, "F2": 3.32, "F3": 3.32, "S1": 3.17, "S2": 3.32, "S3": 3.32, "F1+S1": 4.0, "F2+S2": 4.09, "F3+S3": 4.09,
    "C1": 0.99, "C2": 1.0, "C3": 0.99, "A1": 2.0, "A2": 3.3, "A3": 3.32, "A4": 2.3, "four digits": 0.99,
}  # fmt: skip


def as_map(document: dict[str, Any]) -> Map:
    """The map that a document tells."""
    return convert.parsed(Map, document, "map")


def addition_map(*, text: str | None = None) -> dict[str, Any]:
    """A map of 13 sites by 12 named positions: embeddings know their own digit, heads some digit pairs at the end."""
    ats = ["F1", "F2", "F3", "+", "S1", "S2", "S3", "=", "A1", "A2", "A3", "A4"]
    sites = ["x0.pre", *(f"a{layer}.{head}" for layer in (0, 1) for head in range(4)), "m0", "x0.post", "m1", "x1.post"]
    at_the_end = {"a0.0": ["F1", "S1"], "a0.1": ["F1", "S1"], "a0.3": ["F2", "S2"], "m0": ["A1"], "x0.post": ["A1"]}

    def bits(site: str, at: str) -> dict[str, Any]:
        read = [at] if site == "x0.pre" else at_the_end.get(site, []) if at in ("=", "A1", "A2") else [at]
        shares = dict.fromkeys(ENTROPIES, 0.004) | {name: 0.99 for name in read if name in ENTROPIES}
        if set(read) == {"F1", "S1"}:
            shares |= {"F1+S1": 0.99, "C1": 0.93, "four digits": 0.93, "A1": 0.7}
        if site == "a1.2":
            shares |= {"A2": 0.61, "C2": 0.31}
        if site == "a1.0":
            shares |= {"C2": 0.24, "A3": 0.2}
        return {
            name: {"bits": known * ENTROPIES[name], "of": ENTROPIES[name], "se": None if text else 0.012,
                   "divergence": known * ENTROPIES[name] + 0.02}
            for name, known in shares.items()
        }  # fmt: skip

    cells = [
        finished({
            "site": site, "at": at, "queries": 1 if text else 100, "log2_domain_over_preimage": 7.25,
            "se": None if text else 0.04, "bits": bits(site, at),
        })
        for site in sites for at in ats if not (text and at == "A4")
    ]  # fmt: skip
    return {
        "schema": 1, "study": "addition", "task": "addition", "input": text, "where": None, "epsilon": 0.1,
        "epsilon_rule": "0.1", "metric": "euclidean", "position_rule": "same",
        "queries": 1 if text else 100, "seed": 0, "exact": True,
        "domain": 810_000, "sites": sites, "ats": ats, "cells": cells,
    }  # fmt: skip


def finished(cell: dict[str, Any]) -> Any:
    """A cell with what it knows."""
    return convert.plain(with_best(convert.parsed(Cell, cell | {"knows": [], "best": None}, "cell")))


def hypotheses(**changes: Any) -> list[HypothesisTest]:
    """One hypothesis that holds, one that could not be tested."""
    holds = {
        "name": "F1 + S1 == 14", "site": "a0.0", "at": "=", "consistency": 0.9823, "interval": [0.971, 0.99],
        "members": 6394, "effective_size": 6394.0, "base_rate": 0.0617, "lift": 15.92, "p_value": 0.001,
        "p_corrected": 0.013, "sites_tried": 13, "why_not": None, "random_queries": 99, "seed": 0, "exact": True,
        "controls": {
            "random input": {"consistency": 0.0713, "members": 512},
            "begin token": {"consistency": 0.0617, "members": 512},
            "random direction": {"consistency": None, "members": 0},
            "no activation": {"consistency": 0.0622, "members": 1000},
        },
    }  # fmt: skip
    untested = {
        **holds, "site": "x1.post", "consistency": None, "interval": None, "lift": None, "p_value": None,
        "p_corrected": None, "controls": {}, "why_not": "only the query itself is in the preimage",
    }  # fmt: skip
    return [convert.parsed(HypothesisTest, test | changes, "test") for test in (holds, untested)]


def validation() -> Validation:
    """Two estimators, one of which is dropped."""
    spread = {"least": 1.0, "p10": 1.0, "median": 2.0, "p90": 3.0, "most": 4.0}
    document = {
        "study": "addition", "epsilon": 0.1, "metric": "euclidean", "position_rule": "same", "n": 1000,
        "temperatures": [1.0], "prior_share": 0.4, "seed": 0, "cells": [], "inside": spread, "effective_size": spread,
        "marginals": {"pairs": 1, "within_total_variation": 1.0, "total_variation": 0.05, "bits": 0.1,
                      "median_total_variation": 0.01, "within_bits": 1.0, "median_bits_error": None},
        "estimators": [
            {"estimator": "importance", "quantity": "log2 |B|", "cells": 204, "answered": 199, "coverage": 0.9412,
             "median_width": 0.4213, "median_error": 0.0712, "unit": "bits", "kept": True},
            {"estimator": "capture-recapture", "quantity": "|B|", "cells": 204, "answered": 0, "coverage": 0.0,
             "median_width": None, "median_error": None, "unit": "inputs", "kept": False},
        ],
    }  # fmt: skip
    return convert.parsed(Validation, document, "validation")


def large_map(layers: int = 10, heads: int = 9) -> dict[str, Any]:
    """A map from a bank of all heads and residual streams at one position: a3.2 gives F1, a7.4 half of S1."""
    document = addition_map()
    cell = next(cell for cell in document["cells"] if cell["at"] == "=" and cell["best"] is None)
    sites = [
        *(f"a{layer}.{head}" for layer in range(layers) for head in range(heads)),
        *(f"x{i}.post" for i in range(layers)),
    ]
    known = {"a3.2": {"F1": 0.95}, "a7.4": {"S1": 0.5}}

    def one(site: str) -> dict[str, Any]:
        shares = known.get(site, {})
        bits = {
            name: row | {"bits": shares.get(name, 0.001) * row["of"], "interval": [-0.01, row["of"]]}
            for name, row in cell["bits"].items()
        }
        knows = [name for name, share in shares.items() if share > 0.9]
        parts = [{"value": "short", "queries": 40, "bits": {name: shares.get(name, 0.0) for name in bits}}]
        return cell | {"by": parts, "site": site, "bits": bits, "knows": knows, "best": next(iter(shares), None)}

    of_bank = {"exact": False, "estimator": "log score", "bank": 4000, "domain": None, "ats": ["="]}
    return document | of_bank | {"sites": sites, "cells": [one(site) for site in sites]}
