"""A language model behind an endpoint that speaks OpenAI's protocol: one question, one answer, kept in files.

Whatever goes wrong there ends as a `UserError` of one line. The key is read from an environment variable, and is in no
error, no kept file and no log.
"""

from __future__ import annotations

import base64
import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import SplitResult, unquote, urlsplit

from inversionview.errors import UserError
from inversionview.files import write_json
from inversionview.results.explanations import Cost

if TYPE_CHECKING:
    from openai import APIError, APIStatusError, OpenAI

MOST_TOKENS = 2000
"""Of an answer, where nothing else is said; models that think before they answer need many."""
_SEED = 0
_NO_KEY = "none"
"""What is sent as the key where there is none; servers on one's own machine ask for none."""
_FIRST_WAIT, _LONGEST_WAIT, _LONGEST_ASKED_FOR = 0.5, 8.0, 60.0
"""Seconds between two tries: by our own measure, and when the endpoint says how long."""
_SHORTEST_SECRET = 8
"""Characters below which a key is a placeholder, which may well stand in an answer."""
_MOST_NAMED = 20
_AS_IN = "the endpoint's URL is to be as in http://localhost:8000/v1"
"""Without the URL that was given, which might hold a password."""
_SCHEMA = 1


class Message(NamedTuple):
    """A part of a conversation."""

    role: str
    """`system`, `user` or `assistant`."""
    content: str


class Reply(NamedTuple):
    """An answer; its tokens are 0 where the endpoint does not count them."""

    text: str
    prompt_tokens: int
    completion_tokens: int
    cached: bool
    """Whether it was kept from an earlier time, so that no request was made."""


class EmptyAnswerError(UserError):
    """The endpoint answered, but with no text."""


class _Failure(NamedTuple):
    error: UserError
    again: bool = False
    """Whether the same request may succeed a little later."""
    wait: float | None = None
    """Seconds until then, where the endpoint says so."""


class Endpoint:
    """A model behind a URL; `requests`, `prompt_tokens` and `completion_tokens` count what it was sent and answered.

    What came out of `cache` does not count; a request that is sent again does, as it may cost as much.
    """

    def __init__(
        self,
        url: str,
        model: str,
        *,
        key_variable: str = "OPENAI_API_KEY",
        timeout: float = 60.0,
        tries: int = 4,
        cache: Path | None = None,
        most_requests: int | None = None,
        longest: int | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """`timeout`: seconds until a try is given up; `cache`: a folder that keeps the answers; `longest`: tokens of
        an answer at most, whatever is asked for, where a model rambles on.

        `sleep` waits between two tries. Raises `UserError` without the extra `explain`, and for a URL, a key or a
        folder that cannot be used.
        """
        if not model.strip():
            raise UserError("the endpoint needs the name of a model")
        if tries < 1 or not timeout > 0:
            raise UserError("an endpoint needs at least one try, and more than 0 seconds for each")
        parts = _checked_url(url, key_variable)
        self.url, self.model, self.key_variable = _without_login(parts), model, key_variable
        self.timeout, self.tries, self.cache, self.most_requests = timeout, tries, _made(cache), most_requests
        self.longest = longest
        self.requests = self.prompt_tokens = self.completion_tokens = 0
        self._sleep = sleep
        key = _key(key_variable)
        self._let_in_by = f"the key in {key_variable}" if key else ""
        if parts.username is not None:
            self._let_in_by = "the name and password in its URL"
        self._secrets = _secrets(key, parts)
        self._refused: set[str] = set()
        self._client = _client(self.url, key or _NO_KEY, timeout, _login(parts))

    @property
    def cost(self) -> Cost:
        """What was asked so far."""
        return Cost(self.requests, self.prompt_tokens, self.completion_tokens)

    def __repr__(self) -> str:
        return f"<{self.model} at {self.url}: {self.requests} requests>"

    def ask(self, messages: Sequence[Message], *, most_tokens: int = MOST_TOKENS) -> Reply:
        """Get the answer to a conversation, at temperature 0 and of at most so many tokens.

        Raises `EmptyAnswerError` when it has no text, and `UserError` for all else that fails: at once where it would
        fail again, else after all tries.
        """
        most_tokens = most_tokens if self.longest is None else min(most_tokens, self.longest)
        settings = {"temperature": 0, "seed": _SEED, "max_tokens": most_tokens}
        said = [{"role": role, "content": _encodable(content)} for role, content in messages]
        request = {"url": self.url, "model": self.model, "messages": said, "settings": settings}
        if (kept := self._kept(request)) is not None:
            return kept
        reply = self._until_answered(request)
        self._keep(request, reply)
        return reply

    # Tries

    def _until_answered(self, request: Mapping[str, Any]) -> Reply:
        left, wait = self.tries - 1, _FIRST_WAIT
        while not isinstance(outcome := self._tried(request), Reply):
            if not outcome.again or not left:
                raise outcome.error  # outside of any `except`: what the client raises may quote a key
            self._sleep(wait if outcome.wait is None else min(outcome.wait, _LONGEST_ASKED_FOR))
            left, wait = left - 1, min(2 * wait, _LONGEST_WAIT)
        return outcome

    def _tried(self, request: Mapping[str, Any]) -> Reply | _Failure:
        from openai import APIError

        try:
            body = self._sent(request)
        except APIError as error:
            return self._failure(error)
        try:
            answer = json.loads(body)
        except (ValueError, RecursionError):
            what = "does not answer in JSON; the URL of an endpoint usually ends in /v1"
            return _Failure(self._error(what), again=True)
        return self._reply(answer, request["settings"]["max_tokens"])

    def _sent(self, request: Mapping[str, Any]) -> bytes:
        """The body of the answer; what a model takes no setting for is left out from then on."""
        from openai import BadRequestError

        while True:
            if self.most_requests is not None and self.requests >= self.most_requests:
                raise UserError(
                    f"the limit of {self.most_requests} requests to the endpoint is reached: set a higher one"
                )
            self.requests += 1
            settings = _accepted(request["settings"], self._refused)
            try:
                raw = self._client.chat.completions.with_raw_response.create(
                    model=self.model, messages=request["messages"], **settings
                )
                return raw.content
            except BadRequestError as error:
                refused = error.param
                if refused not in settings or "support" not in _said(error).lower():
                    raise
                if refused == "max_completion_tokens":  # an answer of any length is not what was asked for
                    raise
                self._refused.add(refused)

    def _reply(self, answer: Any, most_tokens: int) -> Reply | _Failure:
        choice = _at(_at(answer, "choices"), 0)
        usage = [_at(_at(answer, "usage"), name) for name in ("prompt_tokens", "completion_tokens")]
        prompt_tokens, completion_tokens = (count if isinstance(count, int) else 0 for count in usage)
        self.prompt_tokens += prompt_tokens
        self.completion_tokens += completion_tokens
        text = _at(_at(choice, "message"), "content")
        if isinstance(text, str) and text.strip():
            return Reply(self._redacted(_encodable(text)), prompt_tokens, completion_tokens, cached=False)
        if choice is None and (error := _at(answer, "error")) is not None:
            return _Failure(self._error(f"fails ({_times(self.tries)}): {_one_line(_message(error))}"), again=True)
        what = "gives an empty answer"
        if _at(choice, "finish_reason") == "length":
            what += f": {most_tokens} tokens are not enough for what it thinks before it answers; take another model"
        return _Failure(EmptyAnswerError(f"{self._name} {what}"))

    # What went wrong

    @property
    def _name(self) -> str:
        return f"the endpoint {self.url}"

    def _error(self, what: str) -> UserError:
        return UserError(self._redacted(f"{self._name} {what}"))

    def _redacted(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text

    def _failure(self, error: APIError) -> _Failure:
        from openai import APIStatusError, APITimeoutError

        if isinstance(error, APIStatusError):
            return self._of_status(error)
        if isinstance(error, APITimeoutError):
            what = f"does not answer within {self.timeout:g} seconds ({_times(self.tries)}): give it more time"
            return _Failure(self._error(what), again=True)
        cause = error.__cause__
        why = _one_line(str(cause or "")) or type(cause).__name__
        if type(cause).__name__ == "ConnectError":
            return _Failure(
                UserError(
                    self._redacted(f"no endpoint answers at {self.url} ({why}): start one there, or give another")
                ),
                again=True,
            )
        return _Failure(self._error(f"breaks its answers off ({why}; {_times(self.tries)})"), again=True)

    def _of_status(self, error: APIStatusError) -> _Failure:
        status, said = error.status_code, _one_line(_said(error))
        says = f": {said}" if said else ""
        if status in (401, 403):
            # What it says is not shown: it may quote the key.
            if self._let_in_by:
                what = f"does not accept {self._let_in_by} ({status})"
            else:
                what = f"asks for a key ({status}): put it into the environment variable {self.key_variable}"
            return _Failure(self._error(what))
        if status == 404 or error.code == "model_not_found":
            return _Failure(self._not_there(status, says))
        if status == 429:
            what = f"takes no more requests ({status}){says}"
            return _Failure(self._error(what), again=error.code != "insufficient_quota", wait=_asked_wait(error))
        if status in (408, 409) or status >= 500:
            return _Failure(self._error(f"fails ({status}, {_times(self.tries)}){says}"), True, _asked_wait(error))
        return _Failure(self._error(f"refuses the request ({status}){says}"))

    def _not_there(self, status: int, says: str) -> UserError:
        models = self._models()
        if not models:
            return self._error(
                f"has no model {self.model!r}, or is not there ({status}); the URL of an endpoint usually ends in /v1"
            )
        if self.model in models:
            return self._error(f"lists the model {self.model!r} but does not answer for it ({status}){says}")
        more = f", ... ({len(models)} in all)" if len(models) > _MOST_NAMED else ""
        return self._error(f"has no model {self.model!r}; it has {', '.join(models[:_MOST_NAMED])}{more}")

    def _models(self) -> list[str]:
        """The names that it lists; none where it does not."""
        from openai import OpenAIError

        try:
            listed = _at(json.loads(self._client.models.with_raw_response.list().content), "data")
        except (OpenAIError, ValueError, RecursionError):
            return []
        names = [_at(one, "id") for one in listed] if isinstance(listed, list) else []
        return [_one_line(name) for name in names if isinstance(name, str)]

    # What is kept

    def _file(self, request: Mapping[str, Any]) -> Path | None:
        if self.cache is None:
            return None
        identity = json.dumps([_SCHEMA, request], sort_keys=True)
        return self.cache / f"{blake2b(identity.encode(), digest_size=16).hexdigest()}.json"

    def _kept(self, request: Mapping[str, Any]) -> Reply | None:
        """The answer in the cache; None where there is none, or its file is damaged."""
        file = self._file(request)
        if file is None:
            return None
        try:
            kept = json.loads(file.read_bytes())
        except (OSError, ValueError, RecursionError):
            return None
        if any(_at(kept, name) != value for name, value in request.items()):
            return None
        text, *tokens = (_at(kept, name) for name in ("answer", "prompt_tokens", "completion_tokens"))
        if not isinstance(text, str) or not text.strip() or not all(isinstance(count, int) for count in tokens):
            return None
        return Reply(text, tokens[0], tokens[1], cached=True)

    def _keep(self, request: Mapping[str, Any], reply: Reply) -> None:
        if (file := self._file(request)) is None:
            return
        tokens = {"prompt_tokens": reply.prompt_tokens, "completion_tokens": reply.completion_tokens}
        write_json(file, {"schema": _SCHEMA, **request, "answer": reply.text, **tokens})


def _client(url: str, key: str, timeout: float, login: str | None) -> OpenAI:
    try:
        from openai import OpenAI
    except ImportError as error:
        raise UserError('a language model that explains needs openai: pip install "inversionview[explain]"') from error
    # Tries are counted and waited for here: those of the client count nowhere, and it reads no broken answer again.
    headers = {"Authorization": login} if login else None
    try:
        return OpenAI(base_url=url, api_key=key, timeout=timeout, max_retries=0, default_headers=headers)
    except Exception as error:  # of the HTTP library's own kinds, which go by another name in older clients
        raise UserError(_AS_IN) from error


def _checked_url(url: str, key_variable: str) -> SplitResult:
    try:
        parts = urlsplit(url.strip())
        there = parts.scheme in ("http", "https") and (parts.hostname or "").encode("idna") and parts.port != 0
    except ValueError:
        there = False
    if not there:
        raise UserError(_AS_IN)
    if parts.query or parts.fragment:
        raise UserError(
            f"the endpoint's URL can have no ? and no #, as in http://localhost:8000/v1; its key goes into "
            f"{key_variable}"
        )
    return parts


def _without_login(parts: SplitResult) -> str:
    path = parts.path.rstrip("/").removesuffix("/chat/completions")
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{path}"


def _login(parts: SplitResult) -> str | None:
    """The header for a name and a password in the URL; the client would log them with the URL."""
    if parts.username is None:
        return None
    pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return f"Basic {base64.b64encode(pair.encode()).decode()}"


def _key(variable: str) -> str:
    key = os.environ.get(variable, "").strip()
    if not (key.isascii() and key.isprintable()):
        raise UserError(f"the key in {variable} has characters that a key cannot have; copy it again")
    return key


def _secrets(key: str, parts: SplitResult) -> list[str]:
    password, login = unquote(parts.password or ""), (_login(parts) or "").removeprefix("Basic ")
    return [secret for secret in (key, password, login) if len(secret) >= _SHORTEST_SECRET]


def _made(folder: Path | None) -> Path | None:
    if folder is not None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"cannot keep answers in the folder {folder}: {error.strerror}") from error
    return folder


def _accepted(settings: Mapping[str, Any], refused: set[str]) -> dict[str, Any]:
    """The settings without those that a model takes none of; newer ones have another name for the limit."""
    accepted = {name: value for name, value in settings.items() if name not in refused}
    return accepted | ({"max_completion_tokens": settings["max_tokens"]} if "max_tokens" in refused else {})


def _asked_wait(error: APIStatusError) -> float | None:
    with suppress(ValueError):
        wait = float(error.response.headers.get("retry-after", ""))
        return wait if 0 <= wait < float("inf") else None
    return None


def _said(error: APIStatusError) -> str:
    """What the endpoint says went wrong, wherever it puts that."""
    return _message(error.body)


def _message(body: Any) -> str:
    for name in ("message", "detail", "error"):
        inner = _at(body, name)
        body = body if inner is None else inner
    return body if isinstance(body, str) else ""


def _at(document: Any, place: str | int) -> Any:
    """What is at a place of a JSON document; None where there is no such place."""
    try:
        return document[place]
    except (LookupError, TypeError):
        return None


def _times(tries: int) -> str:
    return "once" if tries == 1 else f"{tries} times"


def _one_line(text: str) -> str:
    line = " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
    return line if len(line) <= 300 else f"{line[:300]}..."


def _encodable(text: str) -> str:
    """The text without halves of characters, which no request and no file can hold."""
    return text.encode("utf-8", "replace").decode("utf-8")
