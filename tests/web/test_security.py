"""Every refusal, without a model behind it."""

from __future__ import annotations

import asyncio
import json
from functools import cache
from urllib.parse import unquote

import httpx
import pytest

from inversionview.web.app import make_app
from inversionview.web.security import HEADERS, Guard, allowed_hosts, is_loopback
from inversionview.web.settings import Limits, Settings

SETTINGS = Settings(port=8000, allowed_hosts=("reader.example:443", "lab"), limits=Limits(body_bytes=1000))
OWN = "http://127.0.0.1:8000"


@cache
def app():
    """The whole application, without studies."""
    served = make_app({}, SETTINGS)

    @served.get("/broken")
    def broken():
        raise RuntimeError("/home/somebody/secret")

    return served


def request(method="GET", path="/api/health", **options):
    async def answered():
        transport = httpx.ASGITransport(app=app(), raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url=OWN) as client:
            return await client.request(method, path, **options)

    return asyncio.run(answered())


def refused(response, status):
    assert response.status_code == status
    assert list(response.json()) == ["error"]
    assert "\n" not in response.json()["error"]
    assert all(response.headers[name] == value for name, value in HEADERS.items())
    return response.json()["error"]


@pytest.mark.parametrize("host", ["127.0.0.1:8000", "localhost:8000", "LOCALHOST:8000", "[::1]:8000", "lab:8000"])
def test_it_answers_to_its_own_names(host):
    assert request(headers={"host": host}).status_code == 200


def test_it_answers_to_a_name_and_port_that_it_was_given():
    for host in ("reader.example:443", "reader.example"):
        assert request(headers={"host": host, "origin": f"https://{host}"}).status_code == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example:8000", "evil.example", "127.0.0.1", "127.0.0.1:8001", "localhost", "[::1]", "[::1]:80", "lab", "",
     "reader.example:8000", "127.0.0.1:8000.evil.example",
     "127.0.0.1:8000@evil.example", "127.1:8000", "2130706433:8000"],
)  # fmt: skip
def test_a_name_that_is_not_its_own_is_refused(host):
    """DNS rebinding: a page's own name, pointed at this machine; a port is a part of the name."""
    assert "--allow-host" in refused(request(headers={"host": host}), 403)


@pytest.mark.parametrize("origin", [OWN, "http://localhost:8000", "http://[::1]:8000"])
def test_its_own_pages_may_ask(origin):
    body = {"input": "1"}
    response = request("POST", "/api/studies/none/tokens", json=body, headers={"origin": origin})
    assert response.status_code == 404  # there is no such study, which only who is answered is told


@pytest.mark.parametrize(
    "origin",
    ["http://evil.example", "http://127.0.0.1:8001", "http://localhost", "null", "", "file://", "ftp://127.0.0.1:8000",
     "http://127.0.0.1:8000.evil.example", "127.0.0.1:8000", "http://127.0.0.1:8000/"],
)  # fmt: skip
def test_pages_of_other_sites_may_not(origin):
    refused(request("POST", "/api/studies/none/tokens", json={"input": "1"}, headers={"origin": origin}), 403)
    refused(request(headers={"origin": origin}), 403)


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_what_a_browser_says_is_of_another_site_is_refused(site):
    """Without an Origin: an image, a script or a link of a page elsewhere, or on another port of this machine."""
    refused(request(headers={"sec-fetch-site": site}), 403)
    refused(request(path="/static/app.js", headers={"sec-fetch-site": site, "sec-fetch-mode": "no-cors"}), 403)
    refused(request("POST", "/api/studies/x/tokens", json={}, headers={"sec-fetch-site": site}), 403)
    refused(request("POST", "/", json={}, headers={"sec-fetch-site": site, "sec-fetch-mode": "navigate"}), 403)
    refused(request(headers={"sec-fetch-site": site, "sec-fetch-mode": "navigate"}), 403)


def test_a_link_from_elsewhere_may_open_the_page():
    assert request(path="/", headers={"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}).status_code != 403
    for site in ("same-origin", "none"):
        assert request(headers={"sec-fetch-site": site}).status_code == 200


@pytest.mark.parametrize("name", ["host", "origin", "content-type", "content-length", "sec-fetch-site"])
def test_a_header_that_decides_may_not_come_twice(name):
    first = {"host": "127.0.0.1:8000", "origin": OWN, "sec-fetch-site": "none"}.get(name, "0")
    headers = [("host", "127.0.0.1:8000"), (name, first), (name, first)][name == "host" :]
    assert "twice" in refused(request(headers=headers), 400)


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "", "json"])
def test_a_question_that_is_not_json_is_refused(kind):
    """What a form or a simple request of another site could send."""
    response = request("POST", "/api/studies/none/tokens", content=b'{"input": "1"}', headers={"content-type": kind})
    assert "application/json" in refused(response, 415)


def test_json_with_a_charset_is_json():
    headers = {"content-type": "Application/JSON; charset=utf-8"}
    assert request("POST", "/api/studies/x/tokens", content=b'{"input": "1"}', headers=headers).status_code == 404


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "BREW"])
def test_other_methods_are_refused(method):
    """No preflight is answered, so no other site may send what needs one."""
    response = request(method)
    refused(response, 405)
    assert "POST" in response.headers["allow"]
    assert not any(name.startswith("access-control") for name in response.headers)


def test_a_question_that_says_it_is_too_long_is_not_read():
    response, read = through_guard([b"x" * 10], {"content-length": "1001"})
    assert (response, read) == (413, 0)


def test_a_question_is_not_read_beyond_its_limit_whatever_it_says():
    response, read = through_guard([b"x" * 300] * 1000, {"content-length": "300"})
    assert (response, read) == (413, 4)
    response, read = through_guard([b"x" * 300] * 1000, {})
    assert (response, read) == (413, 4)


@pytest.mark.parametrize("length", ["-1", "ten", "1e3", "٣", "9" * 40])
def test_a_length_that_is_no_number_of_bytes_is_refused(length):
    assert through_guard([b"x"], {"content-length": length})[0] == 400


def through_guard(chunks, headers):
    """What comes of a POST whose body comes in pieces: the status, and how many of them were read."""
    reads, sent = 0, []

    async def receive():
        nonlocal reads
        reads += 1
        return {"type": "http.request", "body": chunks[reads - 1], "more_body": reads < len(chunks)}

    async def send(message):
        sent.append(message)

    async def inner(scope, receive, send):
        pytest.fail("a request that is refused went through")

    own = {"host": "127.0.0.1:8000", "content-type": "application/json"}
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/",
        "headers": [(name.encode(), value.encode("latin-1", "replace")) for name, value in (own | headers).items()],
    }
    asyncio.run(Guard(inner, SETTINGS)(scope, receive, send))
    json.loads(sent[1]["body"])["error"]
    return sent[0]["status"], reads


def test_a_websocket_is_not_answered():
    async def inner(scope, receive, send):
        pytest.fail("a websocket went through")

    asyncio.run(Guard(inner, SETTINGS)({"type": "websocket", "headers": []}, None, None))


def test_every_answer_has_the_headers():
    for path in ("/", "/static/app.js", "/api/studies", "/api/health", "/nothing", "/api/openapi.json"):
        response = request(path=path)
        assert all(response.headers[name] == value for name, value in HEADERS.items()), path
        assert "server" not in response.headers


def test_the_policy_lets_nothing_in_but_the_servers_own():
    policy = dict(part.partition(" ")[::2] for part in HEADERS["content-security-policy"].split("; "))
    assert policy["default-src"] == "'none'"
    assert policy["frame-ancestors"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert not any("unsafe" in value or "http" in value or "*" in value for value in policy.values())


def test_a_mistake_of_ours_has_the_headers_too_and_tells_nothing_of_the_machine():
    assert refused(request(path="/broken"), 500) == "this went wrong in the server: RuntimeError"


@pytest.mark.parametrize(
    "path",
    ["/static/../app.py", "/static/..%2fapp.py", "/static/%2e%2e/%2e%2e/pyproject.toml", "/static//etc/passwd",
     "/static/report/../../cli.py", "/static/", "/static/..", "/static/app.js%00", "/static/C:%5cboot.ini"],
)  # fmt: skip
def test_no_path_leads_out_of_the_table_of_files(path):
    """As it comes: a client would take the dots out."""
    sent = []

    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "http_version": "1.1", "method": "GET", "scheme": "http", "path": unquote(path),
             "raw_path": path.encode(), "query_string": b"", "root_path": "", "client": ("127.0.0.1", 1),
             "server": ("127.0.0.1", 8000), "headers": [(b"host", b"127.0.0.1:8000")]}  # fmt: skip
    asyncio.run(app()(scope, receive, send))
    assert sent[0]["status"] == 404
    assert list(json.loads(sent[1]["body"])) == ["error"]


@pytest.mark.parametrize("key", ["..%2f..%2fstudy", "A" * 32, "0" * 31, "0" * 33, "0" * 31 + "g", "*"])
def test_a_key_that_is_none_is_no_result(key):
    assert request(path=f"/api/results/{key}.json").status_code in (404, 422)
    assert "no longer kept" in refused(request(path=f"/api/results/{'0' * 32}.json"), 404)


def test_another_host_is_answered_to_by_its_own_name_alone():
    hosts = allowed_hosts(Settings(host="192.168.1.5", port=80, allowed_hosts=("lab.example",)))
    assert hosts == {"192.168.1.5:80", "192.168.1.5", "lab.example:80", "lab.example"}
    assert "127.0.0.1:80" not in hosts
    assert allowed_hosts(Settings(host="fe80::1", port=9, allowed_hosts=("::2", "[::3]", "[::4]:7"))) == {
        "[fe80::1]:9", "[::2]:9", "[::3]:9", "[::4]:7",
    }  # fmt: skip
    assert "localhost:8000" in allowed_hosts(Settings(host="0.0.0.0"))


def test_which_hosts_only_this_machine_reaches():
    assert all(map(is_loopback, ("127.0.0.1", "127.0.0.2", "::1", "localhost")))
    assert not any(map(is_loopback, ("0.0.0.0", "::", "192.168.1.5", "example.org", "")))
