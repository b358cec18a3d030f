"""The queue, with work that is made up: who waits, who shares, what is stopped, and what is kept."""

from __future__ import annotations

import asyncio
import json
import threading
import time

import pytest

from inversionview.errors import UserError
from inversionview.progress import advance, stage
from inversionview.web.jobs import Answer, Cache, Jobs, Kept, Question, QueueFullError
from inversionview.web.settings import Limits

SOON = 20
"""Seconds after which a test that waits has failed."""


class Work:
    """A question whose steps the test lets happen, one by one."""

    def __init__(self, key, steps=3, document=None, error=None):
        self.key, self.steps, self.document, self.error = key, steps, document or {"of": key}, error
        self.started, self.stopped, self.go = threading.Event(), threading.Event(), threading.Semaphore(0)
        self.runs, self.done = 0, 0

    @property
    def question(self):
        return Question(self.key, self._run, lambda found: {"so far": found})

    def _run(self):
        self.runs += 1
        self.started.set()
        try:
            with stage("work", self.steps, partial=self.key):
                for _ in range(self.steps):
                    assert self.go.acquire(timeout=SOON)
                    advance(1)
                    self.done += 1
        finally:
            self.stopped.set()
        if self.error is not None:
            raise self.error
        return Answer(self.document)

    def finish(self):
        for _ in range(self.steps):
            self.go.release()


def running(test, **limits):
    """Run an asynchronous test with jobs, which must be at rest in the end."""

    async def whole():
        jobs = Jobs(Limits(**limits))
        try:
            await asyncio.wait_for(test(jobs), SOON)
        finally:
            jobs.close()

    asyncio.run(whole())


async def all_of(subscription):
    """All events of an answer, parsed; the subscription is closed."""
    found = []
    async for text in subscription.events():
        name, data = text.decode().strip().split("\n")
        found.append((name.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
    subscription.close()
    return found


async def until(event):
    while not event.is_set():
        await asyncio.sleep(0.005)


async def idle(jobs):
    while jobs.running:
        await asyncio.sleep(0.005)


def test_events_come_in_their_order():
    async def test(jobs):
        work = Work("a")
        work.finish()
        events = await all_of(jobs.ask(work.question))
        assert events[0] == ("progress", {"stage": "work", "done": 0, "of": 3})
        assert events[1] == ("partial", {"document": {"so far": "a"}})
        assert {name for name, _ in events[2:-1]} <= {"progress"}
        name, data = events[-1]
        assert (name, data["key"], data["document"], data["cached"]) == ("result", "a", {"of": "a"}, False)

    running(test)


def test_who_waits_is_told_its_place_and_when_it_changes():
    async def test(jobs):
        first, second, third = Work("a"), Work("b"), Work("c")
        asked = [jobs.ask(work.question) for work in (first, second, third)]
        assert len(jobs) == 2
        first.finish(), second.finish(), third.finish()
        answers = await asyncio.gather(*map(all_of, asked))
        places = [[data["ahead"] for name, data in events if name == "queued"] for events in answers]
        assert places == [[], [1], [2, 1]]
        assert [events[-1][1]["document"]["of"] for events in answers] == ["a", "b", "c"]

    running(test)


def test_two_who_ask_the_same_share_one_run_and_what_it_found_so_far():
    async def test(jobs):
        work = Work("a")
        first = jobs.ask(work.question)
        await until(work.started)
        work.go.release()
        while work.done < 1:
            await asyncio.sleep(0.005)
        second = jobs.ask(work.question)
        work.finish()
        one, two = await asyncio.gather(all_of(first), all_of(second))
        assert work.runs == 1
        assert one[-1] == two[-1]
        assert ("partial", {"document": {"so far": "a"}}) in two

    running(test)


def test_the_work_stops_when_the_last_one_has_left_and_the_queue_is_free():
    async def test(jobs):
        work, other = Work("a", steps=1000), Work("b")
        first, second = jobs.ask(work.question), jobs.ask(work.question)
        after = jobs.ask(other.question)
        await until(work.started)
        first.close()
        work.go.release()
        await asyncio.sleep(0.05)
        assert not work.stopped.is_set()  # one still waits
        second.close()
        work.go.release(2)
        await until(work.stopped)
        assert work.done < 5
        other.finish()
        assert (await all_of(after))[-1][0] == "result"
        assert jobs.cache.get("a") is None

    running(test)


def test_who_leaves_the_queue_is_never_run():
    async def test(jobs):
        work, left, last = Work("a"), Work("b"), Work("c")
        first, second, third = (jobs.ask(w.question) for w in (work, left, last))
        second.close()
        work.finish(), last.finish()
        await all_of(first)
        events = await all_of(third)
        assert [data["ahead"] for name, data in events if name == "queued"] == [2, 1]
        assert left.runs == 0

    running(test)


def test_a_question_that_was_left_can_be_asked_again_at_once():
    async def test(jobs):
        work = Work("a")
        jobs.ask(work.question).close()
        again = jobs.ask(work.question)
        work.go.release(10)
        assert (await all_of(again))[-1][0] == "result"

    running(test)


def test_a_full_queue_says_so_but_takes_what_is_asked_already():
    async def test(jobs):
        works = [Work(key) for key in "abc"]
        asked = [jobs.ask(work.question) for work in works]
        with pytest.raises(QueueFullError, match="2 questions wait"):
            jobs.ask(Work("d").question)
        asked.append(jobs.ask(works[2].question))
        for work in works:
            work.finish()
        await asyncio.gather(*map(all_of, asked))
        late = Work("d")
        late.finish()
        assert (await all_of(jobs.ask(late.question)))[-1][0] == "result"

    running(test, queue=2)


def test_what_takes_too_long_is_ended_with_a_clear_line_and_stops():
    async def test(jobs):
        work = Work("a", steps=1000)
        events = await all_of(jobs.ask(work.question))
        assert events[-1] == ("error", {"message": "this took longer than 0.1 s and was stopped: ask for less"})
        work.go.release(2)
        await until(work.stopped)
        assert work.done < 5
        await idle(jobs)

    running(test, seconds=0.1)


def test_a_mistake_of_the_users_is_said_and_one_of_ours_ends_nothing(capsys):
    async def test(jobs):
        wrong, broken, right = Work("a", error=UserError("no such site")), Work("b", error=KeyError("x")), Work("c")
        asked = [jobs.ask(work.question) for work in (wrong, broken, right)]
        for work in (wrong, broken, right):
            work.finish()
        answers = await asyncio.gather(*map(all_of, asked))
        assert answers[0][-1] == ("error", {"message": "no such site"})
        assert answers[1][-1] == ("error", {"message": "this went wrong in the server: KeyError"})
        assert answers[2][-1][0] == "result"
        assert jobs.cache.get("a") is None

    running(test)
    assert "KeyError: 'x'" in capsys.readouterr().err


def test_an_answer_that_is_kept_needs_no_worker():
    async def test(jobs):
        work = Work("a")
        work.finish()
        first = await all_of(jobs.ask(work.question))
        busy = Work("b")
        waiting = jobs.ask(busy.question)
        ((name, data),) = await all_of(jobs.ask(work.question))
        assert (name, data["cached"], work.runs) == ("result", True, 1)
        assert data["document"] == first[-1][1]["document"]
        busy.finish()
        await all_of(waiting)

    running(test)


def test_the_server_ends_though_somebody_waits():
    async def test(jobs):
        work, behind = Work("a", steps=10_000), Work("b")
        asked = [jobs.ask(w.question) for w in (work, behind)]
        await until(work.started)
        work.go.release(10_000)
        jobs.close()
        for events in await asyncio.gather(*map(all_of, asked)):
            assert events[-1] == ("error", {"message": "the server was stopped"})
        assert behind.runs == 0

    running(test)


def test_progress_is_not_told_more_often_than_anybody_can_see():
    async def test(jobs):
        def run():
            with stage("quick", 10_000):
                for _ in range(10_000):
                    advance(1)
            with stage("next", 2):
                time.sleep(0.06)
                advance(1)
            return Answer({})

        events = await all_of(jobs.ask(Question("a", run)))
        told = [data for name, data in events if name == "progress"]
        assert len(told) < 100
        assert [data["stage"] for data in told if data["done"] == 0] == ["quick", "next"]
        assert told[-1] == {"stage": "next", "done": 1, "of": 2}

    running(test)


def test_answers_are_kept_up_to_a_number_of_bytes_and_the_oldest_go_first():
    cache = Cache(limit=100)
    for key in "abc":
        cache.put(key, Kept(b"x" * 30, None, 0.0))
    assert cache.get("a") is not None
    cache.put("d", Kept(b"x" * 30, None, 0.0))
    assert [key for key in "abcd" if cache.get(key) is None] == ["b"]
    cache.put("a", Kept(b"x" * 31, None, 0.0))
    cache.put("e", Kept(b"x" * 101, None, 0.0))
    assert len(cache) == 0
    cache.put("f", Kept(b"x" * 100, None, 0.0))
    assert len(cache) == 1


def test_what_is_answered_ahead_gives_way_and_is_taken_up_again():
    async def test(jobs):
        first, asked = Work("first", steps=1), Work("asked", steps=1)
        jobs.ahead([first.question])
        await until(first.started)
        waiting = jobs.ask(asked.question)
        first.finish()  # its next step, at which it is stopped
        asked.finish()
        assert (await all_of(waiting))[-1][0] == "result"
        first.finish()
        while jobs.cache.get("first") is None:
            await asyncio.sleep(0.01)
        assert first.runs == 2
        kept = await all_of(jobs.ask(first.question))
        assert kept[-1][1]["cached"]

    running(test)


def test_who_asks_what_is_answered_ahead_joins_it():
    async def test(jobs):
        work = Work("first", steps=1)
        jobs.ahead([work.question])
        await until(work.started)
        waiting = jobs.ask(work.question)
        work.finish()
        assert (await all_of(waiting))[-1][0] == "result"
        assert work.runs == 1

    running(test)
