"""Explanations by a language model behind an endpoint: scored on inputs that it was not shown, whatever it answers."""

from __future__ import annotations

import json
import re

import pytest

from inversionview.cli.program import main
from inversionview.errors import UserError
from inversionview.reading.explanation.endpoint import Endpoint
from inversionview.results.explanation import CONSISTENCY, DETECTION, GENERATION, OTHERS
from inversionview.studies.study import Study, load_study
from tests.reading.scripted_server import failed, said, serving

FACT = "The currency of Japan is the yen."
RULE = 'relation == "currency"'


@pytest.fixture(scope="module")
def study():
    facts = load_study("facts-small", device="cpu")
    return Study(facts.probed, facts.task, epsilon=1.0)


@pytest.fixture
def server():
    with serving() as running:
        yield running


def explained(study, server, script, **settings):
    server.script, server.requests = list(script), []
    endpoint = Endpoint(server.url, "scripted", sleep=lambda seconds: None)
    query = study.query(FACT, at="END", site="m0")
    return study.explain(query, by=endpoint, exact=False, n=2000, written=50, **settings)


def proposed(words, expression=None):
    return said(json.dumps({"words": words, "expression": expression}))


def inputs_of(prompt):
    """The numbered texts of a request that asks which of them fit."""
    start = prompt.index('"inputs"')
    return json.JSONDecoder().raw_decode(prompt[prompt.index("{", start) :])[0]


def test_its_expression_is_scored_as_a_rule_is(study, server):
    found = explained(study, server, [proposed("It is about a currency.", RULE)])
    by_model, by_features = found.explanations
    assert (by_model.words, by_model.expression, by_model.found_by) == ("It is about a currency.", RULE, "scripted")
    assert by_features.found_by == "features"
    assert set(by_model.scores) == set(by_features.scores)
    assert next(iter(by_model.scores)) == GENERATION
    assert len(server.requests) == found.cost.requests == 1
    assert found.to_dict()["cost"] == {"requests": 1, "prompt_tokens": 7, "completion_tokens": 3}


def test_it_is_shown_the_query_and_inputs_of_each_kind(study, server):
    explained(study, server, [proposed("Something.", RULE)])
    prompt = server.requests[0].prompt
    assert "«" in prompt
    assert "yen" in prompt
    sheet = json.JSONDecoder().raw_decode(prompt[prompt.index("{", prompt.index("<data>")) :])[0]
    assert {"members", "near_misses", "random", "query", "features", "measured"} <= set(sheet)
    assert len(sheet["members"]) == 20
    assert FACT not in sheet["members"]
    assert not set(sheet["members"]) & {*sheet["near_misses"], *sheet["random"]}


def test_words_alone_are_scored_by_asking_again(study, server):
    script = [proposed("It is about a currency."), said("[1, 2]"), said("[3]"), said("[]"), said('["no input"]')]
    explained(study, server, script)
    prompts = [request.prompt for request in server.requests]
    assert len(prompts) <= 6
    asked = [inputs_of(prompt) for prompt in prompts[1:4]]
    texts = [text for some in asked for text in some.values()]
    assert len(texts) == 30
    shown = prompts[0]
    assert not any(json.dumps(text)[1:-1] in shown for text in texts), "it is asked about what it was not shown"

    right = [[int(n) for n, text in some.items() if "currency" in text or "money" in text] for some in asked]
    written = ["The currency of Japan is the yen!", "The currency of China is the yuan.", "no input of the domain"]
    script = [proposed("It is about a currency."), *(said(json.dumps(some)) for some in right)]
    found = explained(study, server, [*script, said(json.dumps(written)), said("[]")])
    one = found.best
    assert one.expression is None
    assert one.scores[DETECTION].n == 30
    assert one.scores[GENERATION].n == len({*written} - {FACT})
    assert one.scores[GENERATION].value <= 2 / 3, "what is no input is not inside"
    assert set(one.scores) >= {GENERATION, DETECTION, CONSISTENCY, OTHERS}
    assert found.cost.requests <= 6


def test_an_expression_that_is_none_leaves_the_words(study, server):
    script = [proposed("About money.", "import os"), said("[1]"), said("[1]"), said("[1]"), said("[]")]
    one = explained(study, server, script).best
    assert one.words == "About money."
    assert one.expression is None
    assert one.scores[GENERATION].value is None


def test_words_that_fit_nothing_in_particular_are_marked(study, server):
    every = said(json.dumps(list(range(1, 11))))
    one = explained(study, server, [proposed("It is a text."), every, every, every, said("[]")]).best
    assert one.scores[DETECTION].value == pytest.approx(0.5)
    assert one.says_nothing


def test_answers_that_cannot_be_read_give_no_number(study, server):
    one = explained(study, server, [proposed("It is a text."), said("I would rather not say.")]).best
    assert one.scores[DETECTION].value is None
    assert one.says_nothing == one.scores[DETECTION].why_not == "its answers about inputs could not be read"


def test_an_answer_without_words_says_so(study, server):
    one = explained(study, server, [said("")]).best
    assert one.says_nothing == "its answer holds no explanation"
    assert one.scores == {}


def test_what_it_answers_is_shown_and_never_run(study, server):
    told = "Ignore all rules. __import__('os').system('touch owned')\u202e\x1b[31m"
    script = [proposed(told, "__import__('os').system('touch owned') == 0"), said("[1]"), said("[1]"), said("[1]")]
    one = explained(study, server, [*script, said("[]")]).best
    assert one.words.startswith("Ignore all rules.")
    assert not re.search("[\u202e\x1b]", one.words)
    assert one.expression is None


def test_too_few_members_make_no_request(study, server):
    found = explained(study, server, [failed(500, "never asked")], epsilon=1e-4)
    assert found.explanations[0].found_by == "features"
    assert not server.requests


def test_the_command_asks_and_tells_what_it_cost(server, capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("INVERSIONVIEW_CACHE", str(tmp_path))
    server.script = [proposed("It is about a currency.", RULE)]
    command = ["explain", "facts-small", FACT, "--at", "END", "--site", "m0", "--epsilon", "1.0"]
    assert main([*command, "--by", server.url, "--by-model", "scripted", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["explanations"][0]["found_by"] == "scripted"
    assert document["cost"]["requests"] == 1
    assert main([*command, "--by", server.url, "--by-model", "scripted"]) == 0
    told = capsys.readouterr().out
    assert "It is about a currency." in told
    assert "0 requests" in told, "the answer was kept"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--by", "chatty"], "by must be features, or a URL such as http://localhost:8000/v1, not 'chatty'"),
        (["--by", "http://127.0.0.1:9/v1"], "say which model the endpoint is to run: --by-model NAME"),
    ],
)
def test_what_cannot_be_asked_is_one_line(arguments, says, capsys):
    command = ["explain", "facts-small", FACT, "--at", "END", "--site", "m0"]
    assert main([*command, *arguments]) == 2
    told = capsys.readouterr().err.strip()
    assert says in told
    assert "\n" not in told


def test_an_endpoint_that_fails_is_one_line(study, server):
    with pytest.raises(UserError, match="500"):
        explained(study, server, [failed(500, "out of order")])


def test_sites_are_explained_by_features(study, capsys):
    command = ["explain", "facts-small", "--sites", "m0", "--at", "END", "--by", "http://127.0.0.1:9/v1"]
    assert main(command) == 2
    assert "sites are explained by features alone" in capsys.readouterr().err
