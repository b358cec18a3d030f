"""Made-up readings that look like real ones: a head that knows the first digits of both numbers."""

from __future__ import annotations

import random

from inversionview.report.reading import Reading, Sample


def addition(*, draws: int = 1000, seed: int = 0, site: str = "a0.0", exact: bool = False) -> Reading:
    """`615+861=1476` read at `=`: members have 6 and 8 as first digits, near misses have other digits with sum 14."""
    rng = random.Random(seed)
    found: dict[str, Sample] = {}
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


def text(*, length: int = 512, samples: int = 50, seed: int = 0) -> Reading:
    """Free text with tokens as a language model has them, the match at any position."""
    rng = random.Random(seed)
    words = [" the", " of", " and", " a", " in", " model", " token", "\n", " Paris", " capital", " 🙂", ",", ".", "\t"]
    words += [" François", " naïve", " activations", "ing", "<script>", "&amp;"]

    def sample(i: int) -> Sample:
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
