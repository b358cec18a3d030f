"""The server's routes: what is asked for, checked, and answered by the worker or from what is kept."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import FastAPI, Path, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response, StreamingResponse
from starlette.exceptions import HTTPException
from starlette.types import Receive, Scope, Send

from inversionview import __version__
from inversionview.errors import UserError
from inversionview.studies.study import Study
from inversionview.web import documents, questions, requests
from inversionview.web.assets import INDEX, Asset, make_table
from inversionview.web.downloads import TYPES, NoFileError, as_file
from inversionview.web.events import to_json
from inversionview.web.jobs import Jobs, Question, QueueFullError, Subscription
from inversionview.web.opened import Opened, named
from inversionview.web.security import HEADERS, Guard
from inversionview.web.settings import Limits, Settings

StudyName = Annotated[str, Path(max_length=200)]
_KEY = r"^[0-9a-f]{32}$"
_FAILURES: dict[int | str, dict[str, Any]] = {
    status: {"description": words, "content": {"application/json": {"schema": requests.Failure.model_json_schema()}}}
    for status, words in (
        (400, "No request"),
        (403, "Of another site, or to another name than the server's"),
        (404, "Not there"),
        (413, "Too large"),
        (415, "Not JSON"),
        (422, "What was asked for cannot be"),
        (429, "Too many questions wait"),
    )
}
_EVENT = {
    "type": "object",
    "properties": {
        "event": {"enum": ["queued", "progress", "partial", "result", "error"]},
        "data": {"type": "string", "contentMediaType": "application/json"},
    },
    "required": ["event", "data"],
}
_STREAM: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "Server-sent events: queued, progress, partial, and at the end result or error",
        "content": {"text/event-stream": {"schema": _EVENT}},
    }
}


class Events(StreamingResponse):
    """The events of an answer; whoever goes away waits no more."""

    media_type = "text/event-stream"

    def __init__(self, subscription: Subscription) -> None:
        super().__init__(subscription.events(), headers={"cache-control": "no-store", "x-accel-buffering": "no"})
        self._subscription = subscription

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._subscription.close()


class Json(JSONResponse):
    """A document that may be asked for again and be another one."""

    def render(self, content: Any) -> bytes:
        return to_json(content)

    def init_headers(self, headers: Mapping[str, str] | None = None) -> None:
        super().init_headers({"cache-control": "no-store", **(headers or {})})


def make_app(studies: Mapping[str, Opened] | Sequence[Study], settings: Settings | None = None) -> FastAPI:
    """The application that serves these studies; the one thing that is global to it is its worker."""
    settings = settings or Settings()
    served = dict(studies) if isinstance(studies, Mapping) else named(studies)
    jobs = Jobs(settings.limits)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        if settings.ahead:
            first = [questions.first(one.study, one.document, settings.limits, jobs.cache) for one in served.values()]
            jobs.ahead(first)
        yield
        jobs.close()

    app = FastAPI(
        title="inversionview",
        version=__version__,
        lifespan=lifespan,
        openapi_url="/api/openapi.json",
        docs_url=None,
        redoc_url=None,
        default_response_class=Json,
        responses=_FAILURES,
    )
    app.state.jobs = jobs
    app.add_middleware(Guard, settings=settings)
    _handle_errors(app)
    _add_page(app, make_table())
    _add_studies(app, served, settings.limits)
    _add_questions(app, served, jobs, settings.limits)
    _add_results(app, jobs, settings.limits)
    return app


def _handle_errors(app: FastAPI) -> None:
    @app.exception_handler(UserError)
    async def user_error(_: Request, error: UserError) -> Response:
        return Json({"error": str(error), **({"instead": error.instead} if error.instead else {})}, 422)

    @app.exception_handler(QueueFullError)
    async def queue_full(_: Request, error: QueueFullError) -> Response:
        return Json({"error": str(error)}, 429, {"retry-after": "5"})

    @app.exception_handler(RequestValidationError)
    async def wrong_fields(_: Request, error: RequestValidationError) -> Response:
        return Json({"error": requests.one_line(list(error.errors()))}, 422)

    @app.exception_handler(RecursionError)
    async def too_deep(_: Request, error: RecursionError) -> Response:
        return Json({"error": "the question is nested too deeply"}, 422)

    @app.exception_handler(Exception)
    async def our_mistake(_: Request, error: Exception) -> Response:
        # This one is answered outside the guard, which so cannot add its headers.
        return Json({"error": f"this went wrong in the server: {type(error).__name__}"}, 500, HEADERS)

    @app.exception_handler(HTTPException)
    async def http_error(_: Request, error: HTTPException) -> Response:
        plain = error.status_code in _WORDS and error.detail == HTTPStatus(error.status_code).phrase
        message = _WORDS[error.status_code] if plain else str(error.detail)
        return Json({"error": message}, error.status_code, error.headers)


_WORDS = {404: "there is nothing at this address", 405: "this address takes another method"}


def _add_page(app: FastAPI, table: Mapping[str, Asset]) -> None:
    async def index(request: Request) -> Response:
        return _asset(request, table.get(INDEX))

    async def static(request: Request, name: str) -> Response:
        return _asset(request, table.get(name))

    for path, endpoint in (("/", index), ("/static/{name:path}", static)):
        app.add_api_route(path, endpoint, methods=["GET", "HEAD"], include_in_schema=False)


def _asset(request: Request, asset: Asset | None) -> Response:
    if asset is None:
        raise HTTPException(404, "there is no such file")
    headers = {"etag": asset.etag, "cache-control": "no-cache"}  # may be kept, but is asked for again
    if request.headers.get("if-none-match") == asset.etag:
        return Response(status_code=304, headers=headers)
    return Response(asset.body, media_type=asset.type, headers=headers)


def _add_studies(app: FastAPI, served: Mapping[str, Opened], limits: Limits) -> None:
    @app.get("/api/studies")
    def studies() -> Any:
        shown = {
            "input_characters": limits.input_characters,
            "samples": limits.samples,
            "queue": limits.queue,
            "seconds": limits.seconds,
        }
        return Json({"studies": [one.document for one in served.values()], "version": __version__, "limits": shown})

    @app.get("/api/studies/{name}/examples")
    def examples(
        name: StudyName, n: Annotated[int, Query(ge=1, le=50)] = 6, seed: Annotated[int, Query(ge=0, lt=2**53)] = 0
    ) -> Any:
        return Json({"examples": documents.example_inputs(_study(served, name).study, n, seed)})

    @app.post("/api/studies/{name}/tokens")
    def tokens(name: StudyName, request: requests.TokensRequest) -> Any:
        study = _study(served, name).study
        return Json(documents.tokens_document(study, questions.checked_input(request.input, limits)))

    @app.get("/api/studies/{name}/map")
    def kept_map(name: StudyName) -> Any:
        return Json({"document": _study(served, name).map()})


def _add_questions(app: FastAPI, served: Mapping[str, Opened], jobs: Jobs, limits: Limits) -> None:
    async def answer(name: str, make: Callable[..., Question], request: Any, *more: Any) -> Response:
        study = _study(served, name).study
        return Events(jobs.ask(await run_in_threadpool(make, study, request, limits, *more)))

    def route(kind: str) -> Callable[[Any], Any]:
        return app.post(
            f"/api/studies/{{name}}/{kind}", status_code=200, response_class=Events, responses=_STREAM, name=kind
        )

    @route("read")
    async def read(name: StudyName, request: requests.ReadRequest) -> Any:
        return await answer(name, questions.read, request, jobs.cache)

    @route("exact")
    async def exact(name: StudyName, request: requests.ExactRequest) -> Any:
        return await answer(name, questions.exact, request)

    @route("coverage")
    async def coverage(name: StudyName, request: requests.ReadRequest) -> Any:
        return await answer(name, questions.coverage, request, jobs.cache)

    @route("overlap")
    async def overlap(name: StudyName, request: requests.OverlapRequest) -> Any:
        return await answer(name, questions.overlap, request, jobs.cache)

    @route("map")
    async def map_(name: StudyName, request: requests.MapRequest) -> Any:
        return await answer(name, questions.map_, request)

    @route("test")
    async def test(name: StudyName, request: requests.TestRequest) -> Any:
        return await answer(name, questions.test, request)

    @route("explain")
    async def explain(name: StudyName, request: requests.ExplainRequest) -> Any:
        return await answer(name, questions.explain, request)

    @route("causal")
    async def causal(name: StudyName, request: requests.CausalRequest) -> Any:
        return await answer(name, questions.causal, request)

    @route("attention")
    async def attention(name: StudyName, request: requests.AttentionRequest) -> Any:
        return await answer(name, questions.attention, request)


def _add_results(app: FastAPI, jobs: Jobs, limits: Limits) -> None:
    async def download(key: str, kind: str) -> Response:
        kept = jobs.cache.get(key)
        if kept is None:
            raise HTTPException(404, "this answer is no longer kept: ask again")
        try:
            body = await run_in_threadpool(as_file, kept, kind, limits)
        except NoFileError as error:
            raise HTTPException(422, str(error)) from error
        headers = {"content-disposition": f'attachment; filename="{key}.{kind}"', "cache-control": "no-store"}
        return Response(body, media_type=TYPES[kind], headers=headers)

    def add(kind: str) -> None:
        @app.get(
            f"/api/results/{{key}}.{kind}",
            response_class=Response,
            responses={200: {"content": {TYPES[kind]: {}}}},
            name=kind,
        )
        async def result(key: Annotated[str, Path(pattern=_KEY)]) -> Response:
            return await download(key, kind)

    for kind in TYPES:
        add(kind)

    @app.get("/api/health")
    async def health() -> Any:
        return Json({"queue": len(jobs), "running": jobs.running})


def _study(served: Mapping[str, Opened], name: str) -> Opened:
    if name not in served:
        raise HTTPException(404, f"there is no study {name[:80]!r} here; there are: {', '.join(served)}")
    return served[name]
