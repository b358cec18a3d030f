"""What results show of themselves: a few lines as text, and a box in a notebook."""

from __future__ import annotations

from typing import Any

import pytest

import inversionview as iv
from inversionview.results import convert
from inversionview.results.evaluation import Comparison, Evaluation
from inversionview.results.hypotheses import HypothesisTests
from inversionview.results.preimage import Query
from tests.preimage.tiny import few_sums, gpt2
from tests.report import causal, patching
from tests.report.examples import addition_map, as_map, hypotheses, large_map, validation


def rate(value: float) -> dict[str, Any]:
    return {"rate": value, "se": 0.01, "floor": 0.0123, "epsilon": None}


def evaluation() -> Evaluation:
    rates = {"any": rate(0.5), "same": rate(0.4567), "epsilon": None}
    document = {
        "study": "addition", "epsilon": 0.1, "metric": "euclidean", "n": 2000, "seed": 0,
        "sites": {f"a{i}.{j}": rates for i in range(30) for j in range(9)}, "mean": rates, "in_domain": 0.9,
        "accuracy": 0.98, "completeness": None,
    }  # fmt: skip
    return convert.parsed(Evaluation, document, "evaluation")


def query(**changes: Any) -> Query:
    tokens = ("B", *"615+861=1476", "E")
    made = {"study": "addition", "input": "615+861=1476", "tokens": tuple(range(14)), "token_strings": tokens,
            "position": 8, "role": "=", "site": "a0.2"}  # fmt: skip
    return Query(**made | changes)


RESULTS = [
    (as_map(addition_map()), "<Map of addition, 100 random queries: 13 sites at 12 positions>"),
    (as_map(large_map(30)), "<Map of addition, 100 random queries: 300 sites at 1 positions>"),
    (hypotheses()[0], "<F1 + S1 == 14, a0.0 at =: holds for 98.2% of 6,394 members, for 6.2% of all inputs; "
     "p = 0.013>"),
    (hypotheses()[1], "<F1 + S1 == 14, x1.post at =: not tested, because only the query itself is in the preimage>"),
    (patching.document(), "<Patching of addition: 4 configurations, contrast-into-clean, 800 pairs; logit difference "
     "10 clean, -10 in the contrast>"),
    (causal.document(), "<Use of x0.post at = of 615+861=1476, addition: used; of the features: F1, C1>"),
    (causal.document(verdict=None, why_not="too few", features=[]), "<Use of x0.post at = of 615+861=1476, addition: "
     "not known, because too few>"),
    (evaluation(), "<Evaluation of addition: in-ε rate 45.7% at the same position (floor 1.2%), mean of 270 sites; the "
     "model's accuracy 98.0%>"),
    (validation(), "<Validation of addition: 0 cells of 1,000 draws; held the truth: log2 |B| 94%>"),
    (Comparison(0.5, 0.25, {"F1": 0.1, "F2": 0.2}), "<Comparison: 50.0% of the inputs and 25.0% of the mass were "
     "reached; the weighted sample is at most 0.200 from the exact distribution of a feature>"),
    (query(), "<Query 615+861=1476 at =, a0.2, of addition>"),
    (query(input=None, tokens=(), token_strings=(), position=-1, vector=(0.5,) * 576), "<Query a vector at =, a0.2, of "
     "addition>"),
]  # fmt: skip


@pytest.mark.parametrize(("result", "said"), RESULTS, ids=lambda value: type(value).__name__)
def test_a_result_is_a_line_of_text_whatever_it_holds(result: Any, said: str) -> None:
    formatters = pytest.importorskip("IPython.core.formatters", reason="install the extra notebook")
    assert repr(result) == said
    shown, _ = formatters.DisplayFormatter().format(result)
    assert shown["text/plain"] == said


def test_what_the_other_verbs_give_is_a_line_of_text() -> None:
    study = iv.Study(iv.ProbedModel(gpt2()), few_sums(), epsilon=0.5)
    query = study.query("500+990=1490", at="=", site="x0.post")
    ablation = study.ablate("500+990=1490", "x0.post", "=", outputs=["="])
    assert repr(ablation) == (f"<Ablation of x0.post at = (mean), 1 inputs: KL {ablation.effects[0].kl:.3g} nats at =>")
    attribution = study.logit_attribution(query)
    assert repr(attribution) == "<LogitAttribution of x0.post: 1 inputs by 15 tokens; see top, bottom and rank>"
    heads = study.head_selection("=", n=20)
    assert repr(heads).startswith(f"<HeadSelection over 20 inputs: counts most often {heads.heads[0].site} ")
    for result in (ablation, attribution, heads):
        assert len(repr(result)) < 200


def test_tests_are_a_list_that_shows_itself() -> None:
    formatters = pytest.importorskip("IPython.core.formatters", reason="install the extra notebook")
    tests = HypothesisTests(hypotheses())
    assert tests == hypotheses()
    assert [test.site for test in tests] == ["a0.0", "x1.post"]
    assert (tests[0], len(tests)) == (hypotheses()[0], 2)
    shown, _ = formatters.DisplayFormatter().format(tests)
    assert shown["text/plain"].splitlines() == list(map(repr, tests))
    for test in tests:
        assert test.name in shown["text/html"]
    assert "only the query itself is in the preimage" in shown["text/html"]
    assert tests.to_html().startswith("<!DOCTYPE html>")
    assert convert.plain(tests) == [test.to_dict() for test in hypotheses()]


def test_a_query_says_what_it_reads() -> None:
    shown = query(site_note="what a head adds")._repr_html_()
    for said in ("615+861=1476 at =, a0.2", "addition", "8: =", "what a head adds"):
        assert said in shown
    assert "<img" not in query(study="<img src=x>")._repr_html_()
