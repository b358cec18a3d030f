"""The API, on a study of tiny models, over a real connection."""

from __future__ import annotations

import pytest

from inversionview.preimage.result import Preimage
from inversionview.report.wire import pack_reading
from inversionview.studies.study import load_study
from inversionview.web.events import to_json
from tests.preimage.tiny import few_sums, save_study
from tests.web.served import ask, serving

SUM = "500+990=1490"
READ = {"input": SUM, "at": "=", "site": "a0.0", "n": 60, "seed": 3, "epsilon": 0.4}


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("inversionview.studies.study.get_task", lambda name, *of: few_sums())
        opened = load_study(save_study(tmp_path_factory.mktemp("study") / "tiny"))
        _ = opened.task
    return opened


@pytest.fixture(scope="module")
def client(study):
    with serving(study) as client:
        yield client


def test_a_reading_is_what_the_study_gives_in_process(client, study):
    *_, (last, data) = ask(client, "/api/studies/tiny/read", **READ)
    found = study.preimage(study.query(SUM, "=", "a0.0"), 60, seed=3, epsilon=0.4)
    assert last == "result"
    assert to_json(data["document"]) == to_json(pack_reading(found.to_reading()))
    assert found.n_inside > 0


def test_events_come_in_order_and_members_before_their_colours(client):
    events = ask(client, "/api/studies/tiny/read", **READ | {"seed": 4})
    names = [name for name, _ in events]
    assert names.count("partial") == 1
    assert names[-1] == "result"
    stages = [data["stage"] for name, data in events if name == "progress"]
    assert list(dict.fromkeys(stages)) == ["propose", "verify", "weigh", "color"]
    partial, last = events[names.index("partial")][1]["document"], events[-1][1]["document"]
    assert all(sample["colors"] is None for sample in partial["samples"])
    assert all(sample["colors"] is not None for sample in last["samples"])
    assert [s["distance"] for s in partial["samples"]] == [s["distance"] for s in last["samples"]]
    assert partial["bits"] == last["bits"]


def test_the_same_question_is_answered_from_what_is_kept(client):
    first = ask(client, "/api/studies/tiny/read", **READ | {"seed": 5})[-1][1]
    again = ask(client, "/api/studies/tiny/read", **READ | {"seed": 5, "at": "8"})
    assert [name for name, _ in again] == ["result"]
    assert (first["cached"], again[0][1]["cached"]) == (False, True)
    assert again[0][1]["document"] == first["document"]
    assert again[0][1]["key"] == first["key"]
    assert ask(client, "/api/studies/tiny/read", **READ | {"seed": 6})[-1][1]["key"] != first["key"]


@pytest.mark.parametrize("kind", ["json", "parquet"])
def test_a_reading_is_downloaded_whole(client, study, tmp_path, kind):
    key = ask(client, "/api/studies/tiny/read", **READ)[-1][1]["key"]
    response = client.get(f"/api/results/{key}.{kind}")
    assert response.status_code == 200
    assert f'filename="{key}.{kind}"' in response.headers["content-disposition"]
    (tmp_path / f"reading.{kind}").write_bytes(response.content)
    found = study.preimage(study.query(SUM, "=", "a0.0"), 60, seed=3, epsilon=0.4)
    assert Preimage.load(tmp_path / f"reading.{kind}").to_reading() == found.to_reading()
