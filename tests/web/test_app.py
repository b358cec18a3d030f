"""The API, on a study of tiny models, over a real connection."""

from __future__ import annotations

import dataclasses
import re
import shutil
import threading
import time
from contextlib import ExitStack

import numpy as np
import pytest

from inversionview.errors import UserError
from inversionview.progress import advance, stage
from inversionview.report.hypotheses import sentence, verdict
from inversionview.report.wire import pack_map, pack_reading
from inversionview.results.explanations import SiteExplanation
from inversionview.results.preimage import Preimage
from inversionview.studies.description import MAP, bundled_studies
from inversionview.studies.folder import open_folder
from inversionview.studies.kept_explanations import keep_explanations
from inversionview.studies.kept_map import kept_map
from inversionview.studies.parts import live_parts
from inversionview.studies.study import Study, load_study
from inversionview.web.documents import study_document
from inversionview.web.events import to_json
from inversionview.web.settings import Limits
from tests.preimage.tiny import SITES
from tests.web.served import ask, events, serving

SUM = "500+990=1490"
TINY = "/api/studies/tiny"
READ = {"input": SUM, "at": "=", "site": "a0.0", "n": 60, "seed": 3, "epsilon": 0.4}


def test_a_reading_is_what_the_study_gives_in_process(client, study):
    *_, (last, data) = ask(client, f"{TINY}/read", **READ)
    found = study.preimage(study.query(SUM, "=", "a0.0"), 60, seed=3, epsilon=0.4)
    assert last == "result"
    assert to_json(data["document"]) == to_json(pack_reading(found.to_reading()))
    assert found.n_inside > 0


def test_events_come_in_order_and_members_before_their_colours(client):
    events = ask(client, f"{TINY}/read", **READ | {"seed": 4})
    names = [name for name, _ in events]
    assert names.count("partial") == 2, "before its words, and before its colours"
    assert names[-1] == "result"
    stages = [data["stage"] for name, data in events if name == "progress"]
    once = [name for name in dict.fromkeys(stages) if name != "counting the inputs of the domain"]  # the first time
    assert once == ["propose", "verify", "weigh", "explain", "color"]
    partial, last = events[names.index("partial")][1]["document"], events[-1][1]["document"]
    assert all(sample["colors"] is None for sample in partial["samples"])
    assert all(sample["colors"] is not None for sample in last["samples"])
    assert [s["distance"] for s in partial["samples"]] == [s["distance"] for s in last["samples"]]
    assert partial["bits"] == last["bits"]
    assert partial["words"]["answer"]["in_words"] == "" != last["words"]["answer"]["in_words"]


def test_another_epsilon_is_answered_from_the_draws_that_are_kept(client, study):
    ask(client, f"{TINY}/read", **READ | {"seed": 11})
    events = ask(client, f"{TINY}/read", **READ | {"seed": 11, "epsilon": 0.3})
    assert not {"propose", "verify"} & {data["stage"] for name, data in events if name == "progress"}
    found = study.preimage(study.query(SUM, "=", "a0.0"), 60, seed=11, epsilon=0.3)
    assert to_json(events[-1][1]["document"]) == to_json(pack_reading(found.to_reading()))


def test_the_same_question_is_answered_from_what_is_kept(client):
    first = ask(client, f"{TINY}/read", **READ | {"seed": 5})[-1][1]
    again = ask(client, f"{TINY}/read", **READ | {"seed": 5, "at": "8"})
    assert [name for name, _ in again] == ["result"]
    assert (first["cached"], again[0][1]["cached"]) == (False, True)
    assert again[0][1]["document"] == first["document"]
    assert again[0][1]["key"] == first["key"]
    assert ask(client, f"{TINY}/read", **READ | {"seed": 6})[-1][1]["key"] != first["key"]


@pytest.mark.parametrize("kind", ["json", "parquet"])
def test_a_reading_is_downloaded_to_the_last_bit(client, study, tmp_path, kind):
    key = ask(client, f"{TINY}/read", **READ)[-1][1]["key"]
    response = client.get(f"/api/results/{key}.{kind}")
    assert response.status_code == 200
    assert f'filename="{key}.{kind}"' in response.headers["content-disposition"]
    (tmp_path / f"reading.{kind}").write_bytes(response.content)
    found = study.preimage(study.query(SUM, "=", "a0.0"), 60, seed=3, epsilon=0.4)
    found = dataclasses.replace(found, colors=np.asarray(found.colors))  # all made together, as the server does
    assert Preimage.load(tmp_path / f"reading.{kind}").to_reading() == found.to_reading()


def test_a_reading_is_downloaded_as_a_page(client):
    key = ask(client, f"{TINY}/read", **READ)[-1][1]["key"]
    response = client.get(f"/api/results/{key}.html")
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    assert response.headers["content-disposition"].startswith("attachment")
    assert "<!doctype html>" in response.text.lower()[:100]


def test_an_answer_that_is_no_reading_is_downloaded_as_json_alone(client):
    data = ask(client, f"{TINY}/attention", input=SUM)[-1][1]
    assert client.get(f"/api/results/{data['key']}.json").json() == data["document"]
    response = client.get(f"/api/results/{data['key']}.parquet")
    assert (response.status_code, response.json()["error"]) == (
        422,
        "this answer is no reading, and can be had as .json only",
    )


def test_an_exact_preimage_is_the_studys_and_its_file_has_all_members(client, study, tmp_path):
    asked = {"input": SUM, "at": "=", "site": "x0.post", "epsilon": 0.9, "n": 5}
    events = ask(client, f"{TINY}/exact", **asked)
    found = study.exact_preimage(study.query(SUM, "=", "x0.post"), epsilon=0.9, curve=True)
    document = events[-1][1]["document"]
    assert to_json(document) == to_json(pack_reading(found.to_reading(5)))
    assert (document["exact"], len(document["samples"])) == (True, 5)
    assert found.n_inside > 5
    stages = {data["stage"] for name, data in events if name == "progress"}
    before = {"counting the inputs of the domain", "reading the features of all inputs"}  # once for a domain
    assert stages - before == {"scan"}
    (tmp_path / "exact.json").write_bytes(client.get(f"/api/results/{events[-1][1]['key']}.json").content)
    loaded = Preimage.load(tmp_path / "exact.json")
    assert loaded.exact
    assert loaded.n_inside == found.n_inside


def test_a_file_with_too_many_members_is_refused(study):
    asked = {"input": SUM, "at": "=", "site": "x0.post", "epsilon": 0.9}
    with serving(study, limits=Limits(download_members=5)) as client:
        key = ask(client, f"{TINY}/exact", **asked)[-1][1]["key"]
        response = client.get(f"/api/results/{key}.json")
        assert response.status_code == 422
        assert "at most 5 are sent" in response.json()["error"]
        assert client.get(f"/api/results/{key}.html").status_code == 200


def test_coverage_is_the_sample_beside_the_exact_preimage(client, study):
    asked = READ | {"site": "x0.post", "epsilon": 0.9}
    document = ask(client, f"{TINY}/coverage", **asked)[-1][1]["document"]
    query = study.query(SUM, "=", "x0.post")
    sample = study.preimage(query, 60, seed=3, epsilon=0.9)
    whole = study.exact_preimage(query, epsilon=0.9)
    assert document == {
        "found": sample.n_inside,
        "members": whole.n_inside,
        **study.compare(sample, whole).to_dict(),
    }
    assert 0 < document["recall"] < 1


def test_coverage_makes_nothing_again_that_is_kept(client):
    asked = READ | {"site": "x1.post", "epsilon": 0.9}
    ask(client, f"{TINY}/read", **asked)
    ask(client, f"{TINY}/exact", **{name: asked[name] for name in ("input", "at", "site", "epsilon", "seed")})
    events = ask(client, f"{TINY}/coverage", **asked)
    assert [name for name, _ in events] == ["result"]
    assert not events[0][1]["cached"]


def test_a_hypothesis_is_tested_as_the_study_does(client, study):
    asked = {"input": SUM, "at": "=", "sites": ["x0.post", "a0.1"], "hypothesis": "F1 + S1 == 14", "random_queries": 9}
    document = ask(client, f"{TINY}/test", **asked)[-1][1]["document"]
    queries = [study.query(SUM, "=", site) for site in ("x0.post", "a0.1")]
    tests = study.test(queries, "F1 + S1 == 14", random_queries=9)
    words = [{"verdict": verdict(found), "says": sentence(found)} for found in tests]
    assert document["tests"] == [found.to_dict() | said for found, said in zip(tests, words, strict=True)]


@pytest.mark.parametrize(
    "hypothesis", ["__import__('os').system('true')", "F1.__class__", "(lambda: 1)()", "open('x')", "F9", "F1 ="]
)
def test_a_hypothesis_is_never_run_as_python(client, hypothesis):
    asked = {"input": SUM, "at": "=", "sites": ["x0.post"], "hypothesis": hypothesis}
    answer = client.post(f"{TINY}/test", json=asked)
    assert answer.status_code == 422, "before it waits for anything"
    assert "\n" not in answer.json()["error"]


def test_whether_it_is_used_is_told_as_the_study_does(client, study):
    asked = {"input": SUM, "at": "=", "site": "x0.post", "n": 20, "epsilon": 0.9, "features": ["F1"]}
    document = ask(client, f"{TINY}/causal", **asked)[-1][1]["document"]
    query = study.query(SUM, "=", "x0.post")
    found = study.causal(query, n=20, epsilon=0.9, features=["F1"]).to_dict()
    assert to_json({name: document[name] for name in found}) == to_json(found)


def test_what_sites_say_is_told_as_the_study_does(client, study):
    document = ask(client, f"{TINY}/explain", sites=["x0.post", "a0.0"], at="=", queries=2)[-1][1]["document"]
    found = study.explain_sites(["x0.post", "a0.0"], "=", queries=2)
    assert document["kind"] == "explanations"
    assert document["in_words"] == {one.site: one.line for one in found.sites}
    name, data = ask(client, f"{TINY}/explain", sites=["x0.post"], at="nowhere", queries=2)[-1]
    assert name == "error"
    assert "nowhere" in data["message"]


def test_a_reading_comes_first_and_its_words_after_it(client, study):
    events = ask(client, f"{TINY}/read", **READ | {"epsilon": 0.9})
    first = next(data["document"] for name, data in events if name == "partial")
    last = events[-1][1]["document"]
    assert first["words"]["answer"]["in_words"] == ""
    query = study.query(READ["input"], READ.get("at"), READ["site"])
    settings = {name: READ[name] for name in ("n", "seed") if name in READ}
    expected = study.preimage(query, epsilon=0.9, colors=False, **settings).explanation
    assert last["words"]["answer"]["in_words"] == expected.line


def test_the_map_has_the_words_that_are_kept_with_the_study(folder, study, tmp_path):
    shutil.copytree(folder, tmp_path / "copy")
    parts = open_folder(tmp_path / "copy")
    copy = Study.of(live_parts(parts, task=study.task))
    with serving(copy) as client:
        ask(client, f"{TINY}/map")
        keep_explanations(copy, [SiteExplanation("a0.0", "=", "tells F1 in 1 of 1 activations", 1, (), {})])
        cells = client.get(f"{TINY}/map").json()["document"]["cells"]
        words = {(cell["site"], cell["at"]): cell["in_words"] for cell in cells}
        assert words["a0.0", "="] == "tells F1 in 1 of 1 activations"
        assert set(words.values()) == {"", words["a0.0", "="]}


def test_attention_is_the_models(client, study):
    document = ask(client, f"{TINY}/attention", input=SUM)[-1][1]["document"]
    assert document["tokens"] == ["B", *SUM, "E"]
    tokens = study.task.encode(SUM)[None]
    for layer, heads in enumerate(document["layers"]):
        expected = study.probed.attention(tokens, layer)[0]
        assert np.abs(np.array(heads) - expected.numpy()).max() < 1e-4
    one = ask(client, f"{TINY}/attention", input=SUM, layer=1)[-1][1]["document"]
    assert (one["first_layer"], one["layers"]) == (1, document["layers"][1:])


def test_the_map_of_the_whole_study_is_made_once_and_kept_with_it(folder, study, tmp_path):
    shutil.copytree(folder, tmp_path / "copy")
    parts = open_folder(tmp_path / "copy")
    copy = Study.of(live_parts(parts, task=study.task))
    with serving(copy) as client:
        assert client.get(f"{TINY}/map").json() == {"document": None}
        events = ask(client, f"{TINY}/map", queries=3)
        assert client.get(f"{TINY}/map").json() == {"document": None}  # it has few queries, and is not the study's
        stages = {data["stage"] for name, data in events if name == "progress"}
        assert stages == {"drawing inputs to read", "map"}
        document = ask(client, f"{TINY}/map")[-1][1]["document"]
        assert client.get(f"{TINY}/map").json() == {"document": document}
        assert document["queries"] == 100
        description = dataclasses.replace(parts.description, fingerprint="another")
        (tmp_path / "copy" / MAP).touch()
        assert kept_map(Study.of(parts)) is not None
        assert kept_map(Study.of(dataclasses.replace(parts, description=description))) is None


def test_a_map_of_one_input(client, study):
    document = ask(client, f"{TINY}/map", input=SUM, epsilon=0.5)[-1][1]["document"]
    assert document["input"] == SUM
    assert to_json(document) == to_json(pack_map(study.map(SUM, epsilon=0.5)))


def test_the_page_is_told_all_it_needs_of_a_study(client, study):
    answer = client.get("/api/studies").json()
    (document,) = answer["studies"]
    assert document["name"] == "tiny"
    assert document["architecture"] == {"layers": 2, "heads": 2, "d_model": 16}
    assert [site["name"] for site in document["sites"]] == list(SITES)
    assert document["sites"][1] == {"name": "a0.0", "kind": "head", "layer": 0, "head": 0}
    assert document["size"] == study.task.size
    assert document["start"]["site"] in SITES
    assert len(document["examples"]) == 6
    assert {"name": "C1", "about": "carry out of the hundreds", "values": 2, "unasked": False} in document["features"]
    assert document["patch"]["contrasts"] == ["random", "change"]
    assert answer["limits"]["samples"] == 10_000
    for text in document["examples"]:
        assert client.post(f"{TINY}/tokens", json={"input": text}).status_code == 200


STARTS = {
    "addition": ("615+861=1476", "=", "a0.2"),
    "counting": ("vvzccvczvvvzvcvc|v:8", ":", "m1"),
    "facts-small": ("The currency of Japan is the yen.", "END", "m3"),
    "ioi-small": ("When Alice saw Paul in the garden, Paul gave the book to Alice.", "END", "m1"),
}


@pytest.mark.parametrize("name", bundled_studies())
def test_each_bundled_study_opens_where_its_finding_is(name):
    opened = load_study(name)
    start = study_document(name, opened)["start"]
    assert (start["input"], start["at"], start["site"]) == STARTS[name]
    opened.query(start["input"], start["at"], start["site"])
    assert start["tokens"]["input"] == start["input"], "the page need not ask for them"
    assert start["tokens"]["tokens"][start["tokens"]["roles"].index(start["at"])] != "."


def test_the_page_is_one_script_and_one_sheet(client):
    page = client.get("/").text
    named = re.findall(r'(?:src|href)="(/[^"]+)"', page)
    assert sorted(named) == ["/static/app.css", "/static/app.js", "/static/theme.js"]
    script, styles = (client.get(f"/static/app.{kind}").text for kind in ("js", "css"))
    assert not re.search(r"^(import|export)\b", script, re.MULTILINE)
    assert "--surface:" in styles
    assert ".map-table" in styles
    assert ".site-grid" in styles


def test_examples_are_others_with_another_seed(client):
    def examples(seed):
        return client.get(f"{TINY}/examples", params={"n": 5, "seed": seed}).json()["examples"]

    assert examples(1) == examples(1) != examples(2)
    assert len(set(examples(1))) == 5


def test_an_input_is_checked_as_one_types(client):
    answer = client.post(f"{TINY}/tokens", json={"input": f" {SUM} "}).json()
    assert answer["input"] == SUM
    assert answer["tokens"] == ["B", *SUM, "E"]
    assert answer["roles"][8] == "="
    assert answer["eligible"] == [False, *[True] * 12, False]
    assert answer["default"] == 12
    response = client.post(f"{TINY}/tokens", json={"input": "500+990=1491"})
    assert response.status_code == 422
    assert response.json()["error"].endswith("500+990 is 1490, not '1491'")


WRONG = [
    ("read", READ | {"at": "Q"}, "has no position 'Q'"),
    ("read", READ | {"site": "a9.9"}, "the sites of tiny are"),
    ("read", READ | {"input": "1+1=2"}, "not an input of addition"),
    ("read", READ | {"n": 0}, "n: input should be greater than or equal to 1"),
    ("read", READ | {"n": 10_001}, "n may be at most 10,000 here, not 10,001"),
    ("read", READ | {"n": "many"}, "n: input should be a valid integer"),
    ("read", READ | {"extra": 1}, "extra: extra inputs are not permitted"),
    ("read", READ | {"metric": "manhattan"}, "metric: input should be 'euclidean' or 'cosine'"),
    ("read", READ | {"temperatures": []}, "temperatures: list should have at least 1 item"),
    ("read", READ | {"temperatures": [0]}, "temperatures.0: input should be greater than 0"),
    ("read", READ | {"seed": -1}, "seed: input should be greater than or equal to 0"),
    ("read", {}, "input: field required"),
    ("read", READ | {"input": "1" * 4001}, "an input may have 4,000 characters here, and this one has 4,001"),
    ("tokens", {"input": "1" * 4001}, "an input may have 4,000 characters"),
    ("attention", {"input": SUM, "layer": 2}, "layers 0 to 1, not 2"),
    ("exact", {"input": SUM, "site": "a0.0", "n": 10_001}, "at most 10,000"),
    ("map", {"queries": 501}, "queries may be at most 500 here"),
    ("map", {"input": "1+1"}, "not an input of addition"),
    ("test", {"input": SUM, "sites": [], "hypothesis": "F1"}, "sites: list should have at least 1 item"),
    ("causal", READ | {"n": 10_001}, "extra"),
    ("explain", {"sites": ["a9.9"], "at": "="}, "a9.9"),
    ("explain", {"sites": ["a0.0"], "at": "=", "queries": 501}, "queries may be at most 500 here"),
    ("explain", {"sites": ["a0.0"]}, "at: field required"),
]


@pytest.mark.parametrize(("kind", "body", "words"), WRONG)
def test_what_cannot_be_asked_is_refused_in_one_line(client, kind, body, words):
    response = client.post(f"{TINY}/{kind}", json=body)
    assert response.status_code == 422
    assert "\n" not in response.json()["error"]
    if kind != "causal":
        assert words in response.json()["error"]


LATER = [
    ({"epsilon": "null:2"}, "share"),
    ({"epsilon": "wide"}, "epsilon"),
    ({"also": ["dreams"]}, "there is no source 'dreams'"),
    ({"columns": ["F99"]}, "F99"),
    ({"n": 1, "temperatures": [1, 2]}, "too few are left"),
]


@pytest.mark.parametrize(("change", "words"), LATER)
def test_what_the_study_refuses_is_said_in_one_line(client, change, words):
    name, data = ask(client, f"{TINY}/read", **READ | change)[-1]
    assert name == "error"
    assert words in data["message"]
    assert "\n" not in data["message"]


BODIES = [
    (b"", "the question is wrong: field required"),
    (b"{", "not JSON"),
    (b"\xff\xfe", ""),
    (b"[" * 5000, ""),
    (b'{"input": "\\ud800"}', "input"),
    (b'{"input": ' + b"9" * 5000 + b"}", ""),
    (b'{"input": "1", "input": NaN}', "input"),
    (b"null", ""),
    (b'{"input": {"a": [1, 2]}}', "input: input should be a valid string"),
]


@pytest.mark.parametrize(("body", "words"), BODIES)
def test_a_body_that_is_no_question_is_refused_in_one_line(client, body, words):
    response = client.post(f"{TINY}/tokens", content=body, headers={"content-type": "application/json"})
    assert response.status_code in (400, 422)
    assert words in response.json()["error"]


def test_a_study_that_is_not_served_is_said_with_those_that_are(client):
    for response in (client.get("/api/studies/other/map"), client.post("/api/studies/other/read", json=READ)):
        assert response.status_code == 404
        assert response.json()["error"] == "there is no study 'other' here; there are: tiny"


def test_attention_over_too_many_tokens_is_refused(study):
    with serving(study, limits=Limits(attention_values=100)) as client:
        response = client.post(f"{TINY}/attention", json={"input": SUM})
        assert response.status_code == 422
        assert "at most: ask for one layer" in response.json()["error"]


def test_a_client_that_goes_away_stops_the_work(study, monkeypatch):
    begun, ended = threading.Event(), threading.Event()

    def slow(query, n, **settings):
        begun.set()
        try:
            with stage("slow", 10_000):
                for _ in range(10_000):
                    time.sleep(0.01)
                    advance(1)
        finally:
            ended.set()

    monkeypatch.setattr(study, "preimage", slow)
    with serving(study) as client:
        with client.stream("POST", f"{TINY}/read", json=READ) as response:
            assert next(events(response))[0] == "progress"
            assert client.get("/api/health").json() == {"queue": 0, "running": True}
        assert ended.wait(10)
        monkeypatch.undo()
        assert ask(client, f"{TINY}/read", **READ)[-1][0] == "result"
        assert client.get("/api/health").json() == {"queue": 0, "running": False}


def test_a_full_queue_is_answered_at_once(study, monkeypatch):
    go = threading.Event()

    def slow(query, n, **settings):
        go.wait(30)
        raise UserError("enough")

    monkeypatch.setattr(study, "preimage", slow)
    with serving(study, limits=Limits(queue=1)) as client, ExitStack() as stack:
        for seed in range(2):
            stack.enter_context(client.stream("POST", f"{TINY}/read", json=READ | {"seed": seed}))
        response = client.post(f"{TINY}/read", json=READ | {"seed": 2})
        assert response.status_code == 429
        assert response.json()["error"] == "1 questions wait, and no more may: ask again in a while"
        assert "retry-after" in response.headers
        go.set()


def test_files_of_the_page_are_sent_again_only_when_they_have_changed(monkeypatch, tmp_path, study):
    for name, text in (
        ("web/static/index.html", "<p>page"),
        ("report/static/x.js", "export {}"),
        ("web/static/.x", ""),
        *((name, "") for name in ("web/static/app.js", "web/static/app.css", "report/static/theme.css")),
        ("report/static/view.css", ""),
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr("inversionview.web.assets.files", lambda package: tmp_path)
    with serving(study) as client:
        page = client.get("/")
        assert (page.text, page.headers["content-type"]) == ("<p>page", "text/html; charset=utf-8")
        script = client.get("/static/report/x.js")
        assert (script.text, script.headers["content-type"]) == ("export {}", "text/javascript; charset=utf-8")
        again = client.get("/static/report/x.js", headers={"if-none-match": script.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        assert client.head("/").headers["content-length"] == "7"
        (tmp_path / "web/static/later.js").write_text("")
        assert client.get("/static/later.js").status_code == client.get("/static/.x").status_code == 404
