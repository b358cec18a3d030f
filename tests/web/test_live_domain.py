"""A domain with a model, of which nothing was trained, behind the server."""

import pytest

from inversionview.report.wire import pack_reading
from inversionview.studies.study import Study
from inversionview.web.documents import study_document
from inversionview.web.events import to_json
from tests.preimage.tiny import Endless, first_input, probed
from tests.web.served import ask, serving


@pytest.fixture(scope="module")
def study() -> Study:
    return Study(probed(), Endless(), epsilon="null:0.05", name="live", sites=["x0.post", "x1.post"])


def test_the_page_is_told_that_it_draws_and_by_which_rule_epsilon_is_found(study):
    document = study_document("live", study)
    assert not document["has_decoder"]
    assert not document["enumerable"]
    assert (document["epsilon"], document["epsilon_rule"]) == (None, "null:0.05")


def test_a_reading_comes_from_its_bank(study):
    with serving(study) as client:
        asked = {"input": first_input(study), "at": "=", "site": "x1.post", "n": 500}
        last, data = ask(client, "/api/studies/live/read", **asked)[-1]
    assert last == "result"
    preimage = study.preimage(study.query(asked["input"], "=", "x1.post"), 500)
    assert to_json(data["document"]) == to_json(pack_reading(preimage.to_reading()))
    assert preimage.n_inside > 10
