"""Questions to a language model behind a server that answers well, badly, late or not at all."""

from __future__ import annotations

import json
import logging
import re
import sys
import traceback

import pytest

from inversionview.errors import UserError
from inversionview.reading.explanation.endpoint import EmptyAnswerError, Endpoint, Message
from tests.reading.scripted_server import Scripted, document, failed, listed, said, serving

KEY = "sk-very-secret-0123456789"
QUESTION = [Message("system", "You answer."), Message("user", "What is it?")]


@pytest.fixture(autouse=True)
def _environment(monkeypatch):
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "OPENAI_CUSTOM_HEADERS", "OPENAI_ADMIN_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("MY_KEY", KEY)


@pytest.fixture
def server():
    with serving() as there:
        yield there


@pytest.fixture
def waits():
    return []


@pytest.fixture
def endpoint(server, waits, tmp_path):
    def make(**options):
        given = {"key_variable": "MY_KEY", "cache": tmp_path / "kept", "sleep": waits.append} | options
        return Endpoint(given.pop("url", server.url), given.pop("model", "judge"), **given)

    return make


def error_of(endpoint, kind=UserError):
    """The one line with which a question fails; nothing in its traceback tells the key."""
    with pytest.raises(kind) as caught:
        endpoint.ask(QUESTION)
    told = "".join(traceback.format_exception(caught.value))
    assert KEY not in told
    line = str(caught.value)
    assert line == " ".join(line.split())
    return line


def kept_files(tmp_path):
    return sorted((tmp_path / "kept").iterdir())


def test_an_answer_is_no_longer_than_it_may_be(server, endpoint):
    server.script = [said("good")]
    short = endpoint(longest=20)
    short.ask(QUESTION, most_tokens=50)
    short.ask(QUESTION, most_tokens=5)
    assert [request.body["max_tokens"] for request in server.requests] == [20, 5]


def test_an_answer_comes_with_its_tokens(server, endpoint, waits):
    server.script = [said("It is nine.")]
    asked = endpoint()
    assert asked.ask(QUESTION, most_tokens=50) == ("It is nine.", 7, 3, False)
    assert (asked.requests, asked.prompt_tokens, asked.completion_tokens) == (1, 7, 3)
    [request] = server.requests
    assert request.path == "/v1/chat/completions"
    assert request.headers["authorization"] == f"Bearer {KEY}"
    assert request.body == {
        "model": "judge",
        "messages": [{"role": "system", "content": "You answer."}, {"role": "user", "content": "What is it?"}],
        "temperature": 0,
        "seed": 0,
        "max_tokens": 50,
    }
    assert waits == []


@pytest.mark.parametrize(
    "first",
    [
        failed(429, "slow down"),
        failed(500, "oops"),
        failed(503, "starting"),
        said("It is", cut=True),
        said("It is", slow=True),
        Scripted(b'{"choices": [{"mess'),
        document({"error": {"message": "the model behind this gateway is busy"}}),
    ],
    ids=["429", "500", "503", "cut off", "slow", "broken JSON", "an error as an answer"],
)
def test_what_passes_is_tried_again(server, endpoint, waits, first):
    server.script = [first, said("It is nine.")]
    asked = endpoint(timeout=0.5 if first.slow else 10)
    assert asked.ask(QUESTION).text == "It is nine."
    assert (asked.requests, asked.prompt_tokens) == (2, 7)
    assert waits == [0.5]


def test_waits_get_longer_and_the_server_may_say_how_long(server, endpoint, waits):
    server.script = [*[failed(500, "oops")] * 6, failed(429, "slow down", headers={"Retry-After": "11"}), said("Yes.")]
    endpoint(tries=8).ask(QUESTION)
    assert waits == [0.5, 1, 2, 4, 8, 8, 11]
    server.script = [failed(429, "slow down", headers={"Retry-After": when}) for when in ("86400", "Mon, 1 Jan", "nan")]
    error_of(endpoint(cache=None))
    assert waits[7:] == [60, 1, 2]


@pytest.mark.parametrize(
    ("answer", "line"),
    [
        (failed(500, "out of\nmemory"), "the endpoint {url} fails (500, 4 times): out of memory"),
        (failed(429, "slow down"), "the endpoint {url} takes no more requests (429): slow down"),
        (
            Scripted(b"<html>welcome</html>", headers={"Content-Type": "text/html"}),
            "the endpoint {url} does not answer in JSON; the URL of an endpoint usually ends in /v1",
        ),
        (
            Scripted(b'{"choices": [{"mess'),
            "the endpoint {url} does not answer in JSON; the URL of an endpoint usually ends in /v1",
        ),
        (
            said("late", slow=True),
            "the endpoint {url} does not answer within 0.05 seconds (4 times): give it more time",
        ),
    ],
    ids=["500", "429", "a page", "broken JSON", "slow"],
)
def test_what_does_not_pass_is_said_after_all_tries(server, endpoint, waits, answer, line):
    server.script = [answer]
    asked = endpoint(timeout=0.05 if answer.slow else 10)
    assert error_of(asked) == line.format(url=server.url)
    assert asked.requests == len(server.requests) == 4
    assert waits == [0.5, 1, 2]


def test_an_answer_that_is_always_cut_off(server, endpoint):
    server.script = [said("It is nine.", cut=True)]
    line = error_of(endpoint(tries=2))
    assert re.fullmatch(rf"the endpoint {server.url} breaks its answers off \(.+; 2 times\)", line)
    assert len(server.requests) == 2


@pytest.mark.parametrize(
    ("answer", "line"),
    [
        (failed(401, f"Incorrect API key: {KEY}"), "the endpoint {url} does not accept the key in MY_KEY (401)"),
        (failed(403, f"Not for {KEY}"), "the endpoint {url} does not accept the key in MY_KEY (403)"),
        (failed(400, f"what {KEY} asks\x1b[2J"), "the endpoint {url} refuses the request (400): what *** asks [2J"),
        (
            failed(429, "You exceeded your quota.", code="insufficient_quota"),
            "the endpoint {url} takes no more requests (429): You exceeded your quota.",
        ),
        (document({"detail": "too long"}, status=413), "the endpoint {url} refuses the request (413): too long"),
    ],
    ids=["401", "403", "400", "quota", "413"],
)
def test_what_would_fail_again_is_said_at_once(server, endpoint, waits, answer, line):
    server.script = [answer]
    assert error_of(endpoint()) == line.format(url=server.url)
    assert len(server.requests) == 1
    assert waits == []


def test_a_key_that_is_asked_for_is_named(server, endpoint):
    server.script = [failed(401, "no key")]
    line = error_of(endpoint(key_variable="NO_SUCH_KEY"))
    assert line == (f"the endpoint {server.url} asks for a key (401): put it into the environment variable NO_SUCH_KEY")
    assert server.requests[0].headers["authorization"] == "Bearer none"


def test_another_variable_is_not_read(server, endpoint, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    server.script = [said("Yes.")]
    endpoint(key_variable="NO_SUCH_KEY").ask(QUESTION)
    assert KEY not in str(server.requests)


@pytest.mark.parametrize("key", ["sk-ключ-0123456", "sk-0123\n456789"])
def test_a_key_that_cannot_be_sent(endpoint, monkeypatch, key):
    monkeypatch.setenv("MY_KEY", key)
    with pytest.raises(UserError, match="the key in MY_KEY has characters that a key cannot have") as caught:
        endpoint()
    assert key not in str(caught.value)


@pytest.mark.parametrize(
    ("models", "says"),
    [
        (listed("small", "large"), "has no model 'judge'; it has small, large"),
        (listed(*map(str, range(30))), "10, 11, 12, 13, 14, 15, 16, 17, 18, 19, ... (30 in all)"),
        (listed("judge"), "lists the model 'judge' but does not answer for it (404): gone"),
        (None, "has no model 'judge', or is not there (404); the URL of an endpoint usually ends in /v1"),
        (Scripted(b"[{"), "has no model 'judge', or is not there (404); the URL of an endpoint usually ends in /v1"),
        (document({"data": "?"}), "has no model 'judge', or is not there (404)"),
    ],
    ids=["some", "many", "the same", "no list", "broken list", "another list"],
)
def test_an_unknown_model_is_said_with_those_there_are(server, endpoint, models, says):
    server.script, server.models = [failed(404, "gone")], models
    assert says in error_of(endpoint())
    assert len(server.requests) == 1


def test_no_endpoint_there(server, endpoint, waits):
    with serving() as gone:
        url = gone.url
    line = error_of(endpoint(url=url))
    assert line.startswith(f"no endpoint answers at {url} (")
    assert line.endswith("): start one there, or give another")
    assert waits == [0.5, 1, 2]


@pytest.mark.parametrize(
    "url",
    ["localhost:8000", "ftp://there/v1", "http://", "http://[::1/v1", "http://h:99999/v1", f"http://{'a' * 70}/v1",
     "http://x..y/v1", "http://ex\u200bample/v1"],
)  # fmt: skip
def test_a_url_that_is_none(endpoint, url):
    with pytest.raises(UserError, match="the endpoint's URL is to be as in http://localhost:8000/v1"):
        endpoint(url=url)


def test_a_url_with_a_key_in_it_is_refused_without_showing_it(endpoint):
    with pytest.raises(UserError, match="its key goes into MY_KEY") as caught:
        endpoint(url=f"https://there/v1?api-key={KEY}")
    assert KEY not in str(caught.value)


@pytest.mark.parametrize("ending", ["/", "/chat/completions", "/chat/completions/"])
def test_a_url_may_be_that_of_the_answers(server, endpoint, ending):
    server.script = [said("Yes.")]
    endpoint(url=server.url + ending).ask(QUESTION)
    assert server.requests[0].path == "/v1/chat/completions"


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (document({"choices": []}), "gives an empty answer"),
        (document({}), "gives an empty answer"),
        (document([1]), "gives an empty answer"),
        (said(None), "gives an empty answer"),
        (said(" \n"), "gives an empty answer"),
        (said("", finish="length"), "gives an empty answer: 2000 tokens are not enough for what it thinks before"),
    ],
    ids=["no choices", "nothing", "a list", "null", "spaces", "only thoughts"],
)
def test_an_empty_answer(server, endpoint, tmp_path, answer, says):
    server.script = [answer]
    assert says in error_of(endpoint(), EmptyAnswerError)
    assert len(server.requests) == 1
    assert kept_files(tmp_path) == []


def test_a_second_time_the_answer_is_there_already(server, endpoint, tmp_path):
    server.script = [said("It is nine.")]
    endpoint().ask(QUESTION)
    again = endpoint()
    assert again.ask(QUESTION) == ("It is nine.", 7, 3, True)
    assert (again.requests, again.prompt_tokens, again.completion_tokens) == (0, 0, 0)
    assert len(server.requests) == 1
    [file] = kept_files(tmp_path)
    assert re.fullmatch("[0-9a-f]{32}.json", file.name)
    assert json.loads(file.read_text())["answer"] == "It is nine."


def test_another_question_is_another_file(server, endpoint, tmp_path):
    server.script = [said("Yes.")]
    endpoint().ask(QUESTION)
    endpoint().ask(QUESTION, most_tokens=3)
    endpoint().ask(QUESTION[:1])
    endpoint(model="other").ask(QUESTION)
    assert len(server.requests) == len(kept_files(tmp_path)) == 4


OF_ANOTHER = b'{"answer": "It is ten.", "prompt_tokens": 1, "completion_tokens": 1}'


@pytest.mark.parametrize("damage", [b"", b'{"answer": "It', b"\xff\xfe", b"[]", OF_ANOTHER])
def test_a_damaged_file_is_asked_for_again(server, endpoint, tmp_path, damage):
    server.script = [said("It is nine.")]
    endpoint().ask(QUESTION)
    [file] = kept_files(tmp_path)
    whole = file.read_bytes()
    file.write_bytes(damage)
    assert endpoint().ask(QUESTION) == ("It is nine.", 7, 3, False)
    assert file.read_bytes() == whole


def test_a_folder_that_cannot_be(endpoint, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot keep answers in the folder"):
        endpoint(cache=tmp_path / "file" / "kept")


def test_the_key_is_nowhere(server, endpoint, tmp_path, caplog):
    caplog.set_level(logging.DEBUG)
    server.script = [failed(500, f"for {KEY}"), said(f"Your key is {KEY}."), failed(500, f"for {KEY}")]
    asked = endpoint()
    assert asked.ask(QUESTION).text == "Your key is ***."
    error_of(endpoint(cache=None))
    assert asked._client.api_key == KEY  # it was there to be told
    assert KEY not in repr(asked)
    assert caplog.records
    assert KEY not in caplog.text
    assert all(KEY not in f"{vars(record)}" for record in caplog.records)
    assert all(KEY not in file.read_text() for file in kept_files(tmp_path))


def test_a_name_and_a_password_in_the_url_are_sent_and_not_shown(server, endpoint, tmp_path, caplog):
    caplog.set_level(logging.DEBUG)
    server.script = [said("Yes."), failed(400, "no, user:correct-horse")]
    asked = endpoint(url=server.url.replace("//", "//user:correct%2Dhorse@"))
    asked.ask(QUESTION)
    assert server.requests[0].headers["authorization"] == "Basic dXNlcjpjb3JyZWN0LWhvcnNl"
    [file] = kept_files(tmp_path)
    asked.cache = None
    told = [caplog.text, file.read_text(), repr(asked), error_of(asked)]
    assert all("horse" not in text and "dXNlcjpj" not in text for text in told)
    server.script = [failed(401, "no, user:correct-horse")]
    assert error_of(asked) == f"the endpoint {server.url} does not accept the name and password in its URL (401)"
    assert endpoint().ask(QUESTION).cached  # it is the same endpoint, whoever asks


def test_the_limit_of_requests_holds(server, endpoint):
    server.script = [said("Yes."), failed(500, "oops")]
    asked = endpoint(most_requests=3)
    asked.ask(QUESTION)
    with pytest.raises(UserError, match="the limit of 3 requests to the endpoint is reached"):
        asked.ask(QUESTION[:1])  # tries count
    assert asked.requests == len(server.requests) == 3
    assert asked.ask(QUESTION).cached  # costs nothing


def test_settings_that_a_model_does_not_take_are_left_out(server, endpoint):
    server.script = [
        failed(400, "'max_tokens' is not supported with this model.", param="max_tokens", code="unsupported_parameter"),
        failed(400, "'temperature' does not support 0 with this model.", param="temperature", code="unsupported_value"),
        said("Yes."),
        said("No."),
    ]
    asked = endpoint()
    assert asked.ask(QUESTION).text == "Yes."
    assert asked.ask(QUESTION[:1]).text == "No."
    assert asked.requests == 4
    for request in server.requests[2:]:
        assert set(request.body) == {"model", "messages", "seed", "max_completion_tokens"}


def test_a_limit_that_is_too_large_is_not_left_out(server, endpoint):
    server.script = [failed(400, "max_tokens is too large", param="max_tokens")]
    assert error_of(endpoint()).endswith("refuses the request (400): max_tokens is too large")


def test_half_a_character_can_be_asked_and_answered(server, endpoint, tmp_path):
    server.script = [said("\ud83d")]
    assert endpoint().ask([Message("user", "What is \ud83d?")]).text == "?"
    assert server.requests[0].prompt == "What is ??"
    assert endpoint().ask([Message("user", "What is \ud83d?")]).cached


def test_without_the_library_the_extra_is_named(endpoint, monkeypatch):
    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(UserError, match=r'pip install "inversionview\[explain\]"'):
        endpoint()


@pytest.mark.parametrize("wrong", [{"model": " "}, {"tries": 0}, {"timeout": 0}])
def test_settings_of_no_use(endpoint, wrong):
    with pytest.raises(UserError):
        endpoint(**wrong)
