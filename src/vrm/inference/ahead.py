"""One item ahead: reading and tokenizing go on in a thread while the model computes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from queue import Queue
from threading import Semaphore, Thread
from typing import Any, TypeVar

Item = TypeVar("Item")
_END = object()


def ahead(items: Iterable[Item]) -> Iterator[Item]:
    """The items in order, the next one being made while the caller works on the last; never more than that one.

    Tokenizers and the model's matrix products run outside Python's lock, so the two overlap. An exception while an item
    is made is raised where the item would have come. A caller that stops early does not wait for the one in the
    making, which may hang on input that never comes.
    """
    made: Queue[tuple[Any, BaseException | None]] = Queue()
    wanted = Semaphore(0)
    stopped = False

    def make() -> None:
        try:
            for item in items:
                made.put((item, None))
                wanted.acquire()
                if stopped:
                    return
            made.put((_END, None))
        except BaseException as error:
            made.put((None, error))

    # A daemon: the interpreter does not wait for it either.
    Thread(target=make, name="ahead", daemon=True).start()
    try:
        while True:
            item, error = made.get()
            if error is not None:
                raise error
            if item is _END:
                return
            wanted.release()
            yield item
    finally:
        stopped = True
        wanted.release()
