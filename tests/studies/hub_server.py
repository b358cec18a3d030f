"""A stand-in for the Hugging Face hub: repositories in memory behind the part of its HTTP API that its client uses."""

from __future__ import annotations

import base64
import fnmatch
import hashlib
import json
import threading
import warnings
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from huggingface_hub import constants

TOKEN = "hf_of_the_tests"
Files = dict[str, bytes]


@dataclass
class Repo:
    commits: dict[str, Files] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)

    def at(self, revision: str) -> str | None:
        commit = self.branches.get(revision, revision)
        return commit if commit in self.commits else None

    def commit(self, branch: str, files: Files) -> str:
        parent = self.branches.get(branch, "")
        oid = hashlib.sha1(repr((parent, sorted(files.items()))).encode()).hexdigest()
        self.commits[oid], self.branches[branch] = files, oid
        return oid


class Hub(ThreadingHTTPServer):
    """`requests` are those that it was sent, as `GET /path`; `down` has it answer 503 to all."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.repos: dict[str, Repo] = {}
        self.blobs: Files = {}
        self.requests: list[str] = []
        self.down = False

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


@contextmanager
def standing_in(monkeypatch: pytest.MonkeyPatch, cache: Path):
    """The hub's client asks it, with its token, and keeps what it fetches in `cache`."""
    hub = Hub()
    thread = threading.Thread(target=hub.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    monkeypatch.setattr(constants, "ENDPOINT", hub.address)
    monkeypatch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub.address + "/{repo_id}/resolve/{revision}/{filename}"
    )
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)  # whose storage does not stand in here
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Use 'content=", DeprecationWarning)  # the hub's client warns of itself
            yield hub
    finally:
        hub.shutdown()
        hub.server_close()
        thread.join()


class Handler(BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def do_HEAD(self):
        self.answer()

    def do_GET(self):
        self.answer()

    def do_POST(self):
        self.answer()

    def do_PUT(self):
        self.answer()

    def answer(self):
        path = unquote(urlsplit(self.path).path)
        self.server.requests.append(f"{self.command} {path}")
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.server.down:
            return self.send(503, b"")
        parts = path.strip("/").split("/")
        if self.command == "PUT":
            self.server.blobs[parts[-1]] = self.body
            return self.send(200, b"")
        if self.command == "POST" and self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self.json({"error": "Invalid credentials"}, 401, {"X-Error-Message": "Invalid credentials"})
        if parts[:2] == ["api", "repos"]:
            return self.create(json.loads(self.body))
        if parts[:2] == ["api", "validate-yaml"]:
            return self.json({"errors": [], "warnings": []})
        if parts[:2] == ["api", "models"]:
            return self.api("/".join(parts[2:4]), parts[4:])
        if len(parts) > 2 and parts[2] == "info":
            return self.lfs(json.loads(self.body))
        if len(parts) > 4 and parts[2] == "resolve":
            return self.resolve("/".join(parts[:2]), parts[3], "/".join(parts[4:]))
        return self.missing("EntryNotFound")

    def create(self, asked):
        name = f"{asked.get('organization') or 'somebody'}/{asked['name']}"
        is_there = name in self.server.repos
        if not is_there:
            self.server.repos[name] = Repo()
            self.server.repos[name].commit("main", {".gitattributes": b""})
        self.json({"url": f"{self.server.address}/{name}", "id": name}, 409 if is_there else 200)

    def api(self, name, rest):
        repo = self.server.repos.get(name)
        if repo is None:
            return self.missing("RepoNotFound")
        what, revision = (*rest, "main")[:2] if rest else ("revision", "main")
        if what == "branch":
            repo.branches.setdefault(revision, repo.branches["main"])
            return self.json({})
        commit = repo.at(revision)
        if commit is None:
            return self.missing("RevisionNotFound")
        files = repo.commits[commit]
        if what == "preupload":
            return self.json({"files": [upload(file["path"]) for file in json.loads(self.body)["files"]]})
        if what == "commit":
            oid = repo.commit(revision, self.changed(dict(files)))
            return self.json({"commitUrl": f"{self.server.address}/{name}/commit/{oid}", "commitOid": oid})
        if what == "tree":
            return self.json([entry(path, content) for path, content in files.items()])
        siblings = [{"rfilename": path} for path in files]
        return self.json({"id": name, "sha": commit, "siblings": siblings, "private": False, "tags": []})

    def changed(self, files):
        for line in self.body.splitlines():
            change = json.loads(line)
            value = change["value"]
            if change["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif change["key"] == "lfsFile":
                files[value["path"]] = self.server.blobs[value["oid"]]
            elif change["key"] == "deletedFile":
                del files[value["path"]]
        return files

    def lfs(self, asked):
        objects = [
            {**one, "actions": {"upload": {"href": f"{self.server.address}/blobs/{one['oid']}"}}}
            for one in asked["objects"]
        ]
        self.json({"transfer": "basic", "objects": objects})

    def resolve(self, name, revision, path):
        repo = self.server.repos.get(name)
        commit = None if repo is None else repo.at(revision)
        if repo is None or commit is None:
            return self.missing("RepoNotFound" if repo is None else "RevisionNotFound")
        content = repo.commits[commit].get(path)
        if content is None:
            return self.missing("EntryNotFound")
        etag = hashlib.sha256(content).hexdigest()
        self.send(200, content, {"ETag": f'"{etag}"', "X-Repo-Commit": commit})

    def missing(self, code):
        self.json({"error": code}, 404, {"X-Error-Code": code})

    def json(self, content, status=200, headers=()):
        self.send(status, json.dumps(content).encode(), {"Content-Type": "application/json", **dict(headers)})

    def send(self, status, content, headers=()):
        self.send_response(status)
        for name, value in dict(headers).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


def upload(path):
    is_large = fnmatch.fnmatch(path, "*.safetensors")
    return {"path": path, "uploadMode": "lfs" if is_large else "regular", "shouldIgnore": False}


def entry(path, content):
    is_large = fnmatch.fnmatch(path, "*.safetensors")
    lfs = {"oid": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 130}
    oid = hashlib.sha1(content).hexdigest()
    return {"type": "file", "path": path, "size": len(content), "oid": oid, **({"lfs": lfs} if is_large else {})}
