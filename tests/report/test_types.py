"""The types by which the page's modules are checked tell of the documents that Python makes."""

from __future__ import annotations

import dataclasses
import json
import re
from typing import Any

import pytest

from inversionview.report import words
from inversionview.report.answer import Answer, Line, Miss, PatternLine
from inversionview.report.hypotheses import packed
from inversionview.report.wire import pack_causal, pack_explanations, pack_map, pack_patching, pack_tests
from inversionview.results.explanations import SiteExplanation, SiteExplanations
from inversionview.results.hypotheses import HypothesisTests
from inversionview.results.map import Cell, CellBits
from tests.paths import ROOT
from tests.report import causal, patching
from tests.report.examples import addition_map, as_map, estimated, hypotheses, pack

TYPES = (ROOT / "src" / "inversionview" / "report" / "static" / "types.d.ts").read_text(encoding="utf-8")
DECLARED = {
    name: set(re.findall(r"^  (\w+)\??:", body, re.MULTILINE))
    for name, body in re.findall(r"interface (\w+)[^{]*\{\n(.*?)\n\}", TYPES, re.DOTALL)
}

SITES = SiteExplanations("a", "=", (SiteExplanation("a0.0", "=", "tells S in 1 of 1 activations", 1, (), {}),), 0)


@pytest.mark.parametrize("result", [words.Row, words.Table, words.Words, Answer, Line, PatternLine, Miss, CellBits])
def test_a_declared_type_has_the_fields_of_its_dataclass(result: Any) -> None:
    assert DECLARED[result.__name__] == {field.name for field in dataclasses.fields(result)}


def test_a_type_declares_no_field_that_python_does_not_make() -> None:
    made = {field.name for field in dataclasses.fields(Cell)} | {"face", "says", "in_words", "level"}
    assert DECLARED["Cell"] <= made


@pytest.mark.parametrize(
    ("name", "packed"),
    [
        ("ReadingOf", pack(estimated())),
        ("PackedMap", pack_map(as_map(addition_map()))),
        ("PackedCausal", pack_causal(causal.document())),
        ("PackedPatching", pack_patching(patching.document())),
        ("PackedTests", pack_tests(HypothesisTests(hypotheses()))),
        ("PackedExplanations", pack_explanations(SITES)),
        ("SampleOf", pack(estimated())["samples"][0]),
        ("FeatureOf", pack(estimated())["features"][0]),
        ("FeatureBits", pack(estimated())["bits"][0]),
        ("Query", estimated()["query"]),
        ("HypothesisTest", packed(hypotheses()[0])),
    ],
)
def test_a_packed_document_has_all_that_its_type_declares(name: str, packed: Any) -> None:
    optional = set(re.findall(r"^  (\w+)\?:", TYPES, re.MULTILINE))
    assert DECLARED[name] - optional <= set(json.loads(json.dumps(packed)))
