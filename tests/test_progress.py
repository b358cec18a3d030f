from __future__ import annotations

import threading

import pytest

from inversionview.progress import advance, doing, stage, still_wanted, told, untold


def work():
    with stage("first", 2, partial="before"):
        advance(1)
        with stage("inside", 100):
            advance(50)
        advance(1)
    still_wanted()
    with stage("second"):
        advance(3)


def test_each_stage_is_told_with_what_is_done_and_what_is_inside_is_not_counted():
    heard = []
    with told(lambda *news: heard.append(news)):
        work()
    assert heard[0] == ("first", 0, 2, "before")
    assert list(dict.fromkeys(heard))[1:] == [
        ("first", 1, 2, None),
        ("first", 2, 2, None),
        ("second", 0, None, None),
        ("second", 3, None, None),
    ]
    assert ("first", 1, 2, None) in heard[2:]  # a step inside gives the listener a chance to stop it


def test_who_is_told_can_stop_the_work_and_hears_no_more():
    heard = []

    def listen(*news):
        heard.append(news)
        if news[1] == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), told(listen):
        work()
    work()
    assert len(heard) == 2


def test_after_a_stop_stages_count_anew():
    heard = []
    with pytest.raises(ZeroDivisionError), told(lambda *news: 1 / 0):
        work()
    with told(lambda *news: heard.append(news)):
        work()
    assert heard[0] == ("first", 0, 2, "before")


def test_without_a_listener_nothing_happens_and_none_leaves_the_one_who_listened():
    work()
    heard = []
    with told(lambda *news: heard.append(news)), told(None):
        work()
    assert heard


def test_what_another_thread_does_is_not_heard():
    heard = []
    with told(lambda *news: heard.append(news)):
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    assert heard == []


def test_the_end_of_each_stage_is_told_and_not_of_those_inside():
    heard = []
    with told(lambda *news: heard.append(news[0]), ended=lambda: heard.append("over")):
        work()
    assert [news for i, news in enumerate(heard) if i == 0 or news != heard[i - 1]] == [
        "first",
        "over",
        "first",
        "second",
        "over",
    ]
    heard.clear()
    with pytest.raises(ZeroDivisionError), told(lambda *news: 1 / 0, ended=lambda: heard.append("over")):
        work()
    assert heard == ["over"]


def test_nobody_is_told_of_what_is_told_in_another_way():
    heard = []
    with told(lambda *news: heard.append(news[0])):
        with untold():
            work()
        assert heard == []
        with stage("third"):
            pass
    assert heard == ["third"]


def test_between_stages_it_is_told_what_they_are_part_of():
    heard = []
    with told(lambda *news: heard.append(news[0]), ended=lambda: heard.append("over")):
        with doing("all of it"):
            work()
            with doing("a part"):
                pass
        work()
    parts = [news for i, news in enumerate(heard) if i == 0 or news != heard[i - 1]]
    assert parts == [
        "all of it", "first", "all of it", "second", "all of it", "a part", "all of it", "over",
        "first", "over", "first", "second", "over",
    ]  # fmt: skip


def test_what_is_told_in_another_way_is_over_meanwhile_and_what_it_is_part_of_goes_on():
    heard = []
    with told(lambda *news: heard.append(news[0]), ended=lambda: heard.append("over")), doing("all of it"):
        with untold():
            work()
        with stage("third"):
            pass
    assert heard == ["all of it", "over", "all of it", "third", "all of it", "over"]


def test_a_stage_inside_one_of_its_name_is_a_part_of_it():
    heard = []
    with told(lambda *news: heard.append(news)), stage("first", 6):
        work()
        work()
    assert [news[1:3] for news in dict.fromkeys(heard)] == [(0, 6), (1, 6), (2, 6), (3, 6), (4, 6)]
