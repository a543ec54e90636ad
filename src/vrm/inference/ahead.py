"""One item ahead: reading and tokenizing go on in a thread while the model computes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
_END = object()


def ahead(items: Iterable[Item]) -> Iterator[Item]:
    """The items in order, the next one being made while the caller works on the last; never more than that one.

    Tokenizers and the model's matrix products run outside Python's lock, so the two overlap. An exception while an item
    is made is raised where the item would have come. A caller that stops early waits for the one in the making.
    """
    iterator = iter(items)
    with ThreadPoolExecutor(1, thread_name_prefix="ahead") as pool:
        coming = pool.submit(next, iterator, _END)
        while (item := coming.result()) is not _END:
            coming = pool.submit(next, iterator, _END)
            yield item  # type: ignore[misc]
