from __future__ import annotations

import threading

import pytest

from vrm.inference.ahead import ahead


def test_items_come_in_order():
    assert list(ahead(range(20))) == list(range(20))
    assert list(ahead([])) == []


def test_the_next_item_is_made_while_the_caller_works_and_no_further_one():
    made = []
    second, third = threading.Event(), threading.Event()

    def items():
        for number in range(4):
            made.append(number)
            if number == 1:
                second.set()
            if number == 2:
                third.set()
            yield number

    found = ahead(items())
    assert next(found) == 0
    assert second.wait(10)
    assert not third.wait(0.2)
    assert made == [0, 1]
    assert list(found) == [1, 2, 3]


def test_an_exception_comes_in_its_place():
    def items():
        yield 1
        raise ValueError("bad row")

    found = ahead(items())
    assert next(found) == 1
    with pytest.raises(ValueError, match="bad row"):
        next(found)


def test_a_caller_that_stops_early_does_not_wait_for_an_item_that_never_comes():
    forever, ended = threading.Event(), threading.Event()

    def items():
        yield 1
        forever.wait(60)
        yield 2
        ended.set()
        yield 3

    found = ahead(items())
    assert next(found) == 1
    found.close()
    assert not forever.is_set()
    forever.set()
    # Nor is anything made that nobody wants.
    assert not ended.wait(0.2)
