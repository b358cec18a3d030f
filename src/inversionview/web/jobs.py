"""Model work, one question after the other: a queue, who waits for what, and the answers that are kept.

Everything here is touched by the event loop alone, but for the work itself, which has a thread of its own. Whoever asks
what is asked already shares the run; when nobody waits any more it is stopped at its next step.
"""

from __future__ import annotations

import asyncio
import sys
import traceback
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from time import monotonic
from typing import Any, NamedTuple

from inversionview.errors import UserError
from inversionview.progress import told
from inversionview.results.preimage import Preimage
from inversionview.web.events import Event, event, result, to_json
from inversionview.web.settings import Limits

_EVERY = 0.05
"""Seconds between two events about progress, at least."""
_STOPPED = "the server was stopped"


class Answer(NamedTuple):
    """What was found."""

    document: Any
    preimage: Preimage | None = None
    """Where there is one: to be downloaded, or compared with another."""


class Question(NamedTuple):
    """Something that takes model work to answer."""

    key: str
    """The same for the same question about the same model."""
    run: Callable[[], Answer]
    """Called in the worker's thread, listened to (`inversionview.progress`)."""
    partial: Callable[[Any], Any] | None = None
    """The document of what was found so far."""


class QueueFullError(Exception):
    """Too many questions wait, or no more are taken."""


class StoppedError(Exception):
    """Nobody waits any more."""


class Kept(NamedTuple):
    """An answer that is kept."""

    document: bytes
    preimage: Preimage | None
    seconds: float

    @property
    def size(self) -> int:
        """Bytes, about."""
        return len(self.document) + (0 if self.preimage is None else _bytes_of(self.preimage))


class Cache:
    """Answers by key, until they need more than so many bytes; those that were not asked for longest go first."""

    def __init__(self, limit: int) -> None:
        self._limit, self._size = limit, 0
        self._kept: OrderedDict[str, Kept] = OrderedDict()
        self._lock = Lock()

    def get(self, key: str) -> Kept | None:
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
            return self._kept.get(key)

    def put(self, key: str, kept: Kept) -> None:
        with self._lock:
            old = self._kept.pop(key, None)
            self._size += kept.size - (0 if old is None else old.size)
            self._kept[key] = kept
            while self._size > self._limit:
                self._size -= self._kept.popitem(last=False)[1].size

    def __len__(self) -> int:
        return len(self._kept)


class _Job:
    """A question that is asked, and who waits for its answer."""

    def __init__(self, question: Question) -> None:
        self.question = question
        self.waiting: set[asyncio.Queue[Event | None]] = set()
        self.latest: dict[str, Event] = {}
        """For who comes later."""
        self.wanted = True
        """Read by the worker."""
        self.told, self.told_at = ("", 0), 0.0

    def publish(self, news: Event | None) -> None:
        if news is not None:
            self.latest[news.name] = news
        for queue in self.waiting:
            queue.put_nowait(news)


class Subscription:
    """One client's wait for an answer; `close` when it is over, however it ended."""

    def __init__(self, jobs: Jobs, job: _Job | None, ready: list[Event]) -> None:
        self._jobs, self._job = jobs, job
        self._queue: asyncio.Queue[Event | None] = asyncio.Queue()
        for news in ready:
            self._queue.put_nowait(news)
        if job is None:
            self._queue.put_nowait(None)
        else:
            job.waiting.add(self._queue)

    async def events(self) -> AsyncIterator[bytes]:
        """The events of the answer, as they come."""
        while (news := await self._queue.get()) is not None:
            yield news.encode()

    def close(self) -> None:
        """Wait no more. The last one to leave stops the work."""
        if self._job is not None:
            self._job.waiting.discard(self._queue)
            self._jobs.left(self._job)
            self._job = None


class Jobs:
    """The one worker, and what waits for it."""

    def __init__(self, limits: Limits) -> None:
        self.limits, self.cache = limits, Cache(limits.cache_bytes)
        self._waiting: list[_Job] = []
        self._running: _Job | None = None
        self._by_key: dict[str, _Job] = {}
        self._ahead: list[Question] = []
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="model")
        self._stopped = False

    @property
    def running(self) -> bool:
        """Whether a question is being answered now."""
        return self._running is not None

    def __len__(self) -> int:
        """Questions that wait."""
        return len(self._waiting)

    def ask(self, question: Question) -> Subscription:
        """Ask, or join who asked the same. Raises `QueueFullError`; to be called in the event loop."""
        if self._stopped:
            raise QueueFullError(_STOPPED)
        kept = self.cache.get(question.key)
        if kept is not None:
            return Subscription(self, None, [result(question.key, kept.document, kept.seconds, cached=True)])
        job = self._by_key.get(question.key)
        if job is None:
            if self._running is not None and len(self._waiting) >= self.limits.queue:
                raise QueueFullError(f"{len(self._waiting)} questions wait, and no more may: ask again in a while")
            job = self._by_key[question.key] = _Job(question)
            self._waiting.append(job)
            self._put_off()
            self._next()
            self._tell_places(only=job)
        return Subscription(self, job, list(job.latest.values()))

    def ahead(self, asked: Iterable[Question]) -> None:
        """Answer these while nobody asks anything; to be called in the event loop."""
        self._ahead.extend(asked)
        self._next()

    def _put_off(self) -> None:
        """Stop what is answered though nobody waits for it, until there is time again."""
        job = self._running
        if job is not None and job.wanted and not job.waiting:
            job.wanted = False
            self._forget(job)
            self._ahead.insert(0, job.question)

    def left(self, job: _Job) -> None:
        """Somebody waits for this no more."""
        if job.waiting:
            return
        job.wanted = False
        self._forget(job)
        if job in self._waiting:
            self._waiting.remove(job)
            self._tell_places()

    def stop(self) -> None:
        """End all work, and tell who waits; nothing more may be asked."""
        self._stopped = True
        for job in [*self._waiting, *([] if self._running is None else [self._running])]:
            job.wanted = False
            job.publish(event("error", {"message": _STOPPED}))
            job.publish(None)
        self._waiting.clear()

    def close(self) -> None:
        """The same, and wait until the worker has ended."""
        self.stop()
        self._worker.shutdown(wait=True, cancel_futures=True)

    def _forget(self, job: _Job) -> None:
        if self._by_key.get(job.question.key) is job:
            del self._by_key[job.question.key]

    def _tell_places(self, only: _Job | None = None) -> None:
        for i, job in enumerate(self._waiting):
            if only is None or job is only:
                job.publish(event("queued", {"ahead": i + (self._running is not None)}))

    def _next(self) -> None:
        while self._running is None and not self._waiting and self._ahead and not self._stopped:
            question = self._ahead.pop(0)
            if self.cache.get(question.key) is None:
                job = self._by_key[question.key] = _Job(question)
                self._waiting.append(job)
        if self._running is not None or not self._waiting:
            return
        job = self._running = self._waiting.pop(0)
        job.latest.pop("queued", None)
        loop = asyncio.get_running_loop()
        timer = loop.call_later(self.limits.seconds, self._expire, job)
        done = loop.run_in_executor(self._worker, self._work, job, loop)
        done.add_done_callback(lambda _: self._finished(job, timer))

    def _finished(self, job: _Job, timer: asyncio.TimerHandle) -> None:
        timer.cancel()
        self._running = None
        self._end(job)
        self._next()
        self._tell_places()

    def _end(self, job: _Job, news: Event | None = None) -> None:
        self._forget(job)
        if news is not None:
            job.publish(news)
        job.publish(None)

    def _expire(self, job: _Job) -> None:
        job.wanted = False
        message = f"this took longer than {self.limits.seconds:g} s and was stopped: ask for less"
        self._end(job, event("error", {"message": message}))
        job.waiting.clear()

    def _work(self, job: _Job, loop: asyncio.AbstractEventLoop) -> None:
        """In the worker's thread."""
        start = monotonic()

        def publish(news: Event) -> None:
            loop.call_soon_threadsafe(job.publish, news)

        def tell(stage: str, done: int, of: int | None, partial: Any) -> None:
            if not job.wanted:
                raise StoppedError
            now = monotonic()
            news = stage, done
            if stage and news != job.told and (stage != job.told[0] or now >= job.told_at + _EVERY):
                job.told, job.told_at = news, now
                publish(event("progress", {"stage": stage, "done": done, "of": of}))
            if partial is not None and job.question.partial is not None:
                publish(event("partial", {"document": job.question.partial(partial)}))

        try:
            with told(tell):
                answer = job.question.run()
            kept = Kept(to_json(answer.document), answer.preimage, monotonic() - start)
            self.cache.put(job.question.key, kept)
            publish(result(job.question.key, kept.document, kept.seconds, cached=False))
        except StoppedError:
            pass
        except UserError as error:
            publish(event("error", {"message": str(error)}))
        except Exception as error:  # one question that goes wrong must not end the server
            traceback.print_exc(file=sys.stderr)
            publish(event("error", {"message": f"this went wrong in the server: {type(error).__name__}"}))


def _bytes_of(preimage: Preimage) -> int:
    arrays = (preimage.tokens, preimage.positions, preimage.distances, preimage.in_domain, preimage.log_prob,
              preimage.token_distances, preimage.log_prior, preimage.log_densities, preimage.colors)  # fmt: skip
    held = sum(array.nbytes for array in arrays if array is not None)
    held += sum(column.codes.nbytes for column in preimage.columns)
    return held + (0 if preimage.exact else len(preimage) * (400 + 16 * preimage.tokens.shape[1]))
