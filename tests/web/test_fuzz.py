"""The API, asked what its schema allows and what it does not: it may refuse, and never fails.

A few questions of each kind here; `FUZZ=500 pytest tests/web/test_fuzz.py` asks so many of each.
"""

from __future__ import annotations

import os

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from inversionview.web.settings import Limits
from tests.preimage.tiny import SITES
from tests.web.served import TIMEOUT, serving

CHECKS = [not_a_server_error, content_type_conformance, response_schema_conformance, status_code_conformance]
EXAMPLES = int(os.environ.get("FUZZ", "10"))
QUICK = Limits(samples=12, map_queries=2, seconds=5, queue=2)
REAL = {
    "name": ["tiny"],
    "input": ["500+990=1490", "101+102=203", "984+984=1968"],
    "at": ["=", "", "A1", "3"],
    "site": SITES,
    "sites": [["x0.post"], ["a0.0", "x1.post"]],
    "hypothesis": ["F1", "F1 + S1 == 14"],
    "n": [1, 5, 12],
    "queries": [2],
    "random_queries": [3],
    "epsilon": [None, 0.5, "null:0.1", "causal:0.05"],
}
"""What there is: of these a question is half the time, or it would hardly ever get as far as a model."""


@pytest.fixture(scope="module")
def api(study):
    with serving(study, limits=QUICK) as client:
        yield schemathesis.openapi.from_url(f"{client.base_url}/api/openapi.json")


def operations(api):
    return {f"{one.ok().method.upper()} {one.ok().path}": one.ok() for one in api.get_all_operations()}


PATHS = [
    *(f"GET /api/{path}" for path in ("studies", "health", "studies/{name}/examples", "studies/{name}/map")),
    *(f"GET /api/results/{{key}}.{kind}" for kind in ("json", "parquet", "html")),
    *(
        f"POST /api/studies/{{name}}/{kind}"
        for kind in ("tokens", "read", "exact", "overlap", "coverage", "map", "test", "explain", "causal", "attention")
    ),
]


def test_every_operation_is_asked(api):
    assert sorted(operations(api)) == sorted(PATHS)


@pytest.mark.parametrize(
    ("path", "mode"),
    [
        (path, mode)
        for path in PATHS
        for mode in GenerationMode
        if mode is GenerationMode.POSITIVE or "{" in path  # elsewhere there is nothing to be wrong
    ],
)
def test_it_may_refuse_and_never_fails(api, path, mode):
    operation = operations(api)[path]
    asked = 0

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        derandomize=EXAMPLES < 100,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode), data=st.data())
    def fuzz(case, data):
        nonlocal asked
        for place in (case.path_parameters, case.body):
            for field in list(place) if isinstance(place, dict) else ():
                if field in REAL and data.draw(st.booleans()):
                    place[field] = data.draw(st.sampled_from(REAL[field]))
        response = case.call(timeout=TIMEOUT)
        case.validate_response(response, checks=CHECKS)
        asked += 1

    fuzz()
    assert asked
