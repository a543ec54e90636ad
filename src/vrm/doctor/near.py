"""Near copies of texts: word shingles, MinHash and locality-sensitive hashing to find them, exact Jaccard to decide.

Broder, "On the resemblance and containment of documents" (1997); Leskovec, Rajaraman and Ullman, "Mining of Massive
Datasets", chapter 3.
"""

from __future__ import annotations

import re
import unicodedata
import zlib
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from vrm.doctor.rows import evenly
from vrm.errors import MissingExtraError

Shingles: TypeAlias = NDArray[np.uint64]

SHINGLE_WORDS = 3
MAX_WORDS = 512
"""Words of a text that are compared; what follows is not read."""

PERMUTATIONS = 128
BANDS = (21, 6)
"""Bands and rows a band. A pair at similarity 0.8 is found with probability 1 - (1 - 0.8^6)^21 = 0.998."""

BOILERPLATE = 0.2
MIN_BOILERPLATE = 5
BOILERPLATE_SAMPLE = 2_000

MAX_CANDIDATES = 100
"""Texts that one text is compared with exactly; only masses of similar texts come to more."""

# Scripts written without spaces: each character counts as a word.
_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_WORD = re.compile(rf"[{_UNSPACED}]|[^\W{_UNSPACED}]+")
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
_SHIFT = np.uint64(29)


def check_datasketch() -> None:
    """Raise `MissingExtraError` where the library of MinHash is absent."""
    try:
        import datasketch  # noqa: F401
    except ImportError:
        raise MissingExtraError("datasketch", "doctor", "The search for near duplicates") from None


def words(text: str, limit: int = MAX_WORDS) -> list[str]:
    """The first `limit` words, in lower case; punctuation is left out."""
    # Characters enough for the words asked for, so that a very long text costs no more.
    folded = unicodedata.normalize("NFKC", text[: 40 * limit]).casefold()
    return _WORD.findall(folded)[:limit]


@lru_cache(maxsize=2**17)
def _word_id(word: str) -> int:
    return zlib.crc32(word.encode("utf-8", "surrogatepass"))


def shingles(text: str) -> Shingles:
    """Hashes of all runs of `SHINGLE_WORDS` words, sorted, each once; one hash of the whole if it is shorter.

    A text without a single word has none.
    """
    ids = np.array([_word_id(word) for word in words(text)], dtype=np.uint64)
    if not len(ids):
        return ids
    size = min(SHINGLE_WORDS, len(ids))
    hashes = np.full(len(ids) - size + 1, size, dtype=np.uint64)
    for offset in range(size):
        hashes = (hashes ^ ids[offset : len(ids) - size + 1 + offset]) * _MULTIPLIER
        hashes ^= hashes >> _SHIFT
    return np.unique(hashes)


def jaccard(first: Shingles, second: Shingles) -> float:
    """Size of the intersection over that of the union, in [0, 1]; 0 where either is empty."""
    if not len(first) or not len(second):
        return 0.0
    common = len(np.intersect1d(first, second, assume_unique=True))
    return common / (len(first) + len(second) - common)


class NearIndex:
    """Finds sets that may be similar to a given one.

    Raises:
        MissingExtraError: if datasketch is not installed.
    """

    def __init__(self) -> None:
        check_datasketch()
        from datasketch import MinHash, MinHashLSH

        self._empty = MinHash(num_perm=PERMUTATIONS, seed=1, hashfunc=int)
        self._index = MinHashLSH(num_perm=PERMUTATIONS, params=BANDS)

    def sketch(self, values: Shingles) -> Any:
        """MinHash of a set."""
        sketch = self._empty.copy()
        sketch.update_batch((values >> np.uint64(32)).tolist())
        return sketch

    def candidates(self, sketch: Any) -> list[int]:
        """Keys of sets that may be similar, in order."""
        return sorted(self._index.query(sketch))

    def add(self, key: int, sketch: Any) -> None:
        """Add a set under a new key."""
        self._index.insert(key, sketch, check_duplication=False)


class Search:
    """Looks for near copies, and counts the texts whose candidates were too many to compare with all.

    Args:
        similar: whether two keys are near copies, exactly.
    """

    def __init__(self, similar: Callable[[int, int], bool]) -> None:
        self._index, self._similar = NearIndex(), similar
        self.unfinished = 0

    def add(self, key: int, values: Shingles) -> None:
        """Make a text one that others can be copies of."""
        if len(values):
            self._index.add(key, self._index.sketch(values))

    def find(self, key: int, values: Shingles, add: bool = False) -> int | None:
        """The first added text that this one is a near copy of; None if there is none, and then it is added too."""
        if not len(values):
            return None
        sketch = self._index.sketch(values)
        candidates = self._index.candidates(sketch)
        for other in candidates[:MAX_CANDIDATES]:
            if self._similar(key, other):
                return other
        self.unfinished += len(candidates) > MAX_CANDIDATES
        if add:
            self._index.add(key, sketch)
        return None


def remembered(read: Callable[[int], str], size: int = 4096) -> Callable[[int], Shingles]:
    """Shingles of texts by key, the latest `size` of them kept: candidates are compared again and again."""

    @lru_cache(maxsize=size)
    def get(key: int) -> Shingles:
        return shingles(read(key))

    return get


def without_boilerplate(keys: Sequence[int], get: Callable[[int], Shingles]) -> Callable[[int], Shingles]:
    """`get` without the shingles that more than `BOILERPLATE` of the texts have: templates, system prompts.

    They would make all prompts of a template near copies of each other. Shingles of fewer than `MIN_BOILERPLATE` texts
    always count.

    Args:
        keys: different texts; frequencies are taken over at most `BOILERPLATE_SAMPLE` of them, evenly spaced.
        get: shingles by key.
    """
    looked = evenly(keys, BOILERPLATE_SAMPLE)
    if len(looked) < MIN_BOILERPLATE:
        return get
    values, counts = np.unique(np.concatenate([get(key) for key in looked]), return_counts=True)
    common = values[(counts >= MIN_BOILERPLATE) & (counts > BOILERPLATE * len(looked))]
    if not len(common):
        return get
    return lambda key: np.setdiff1d(get(key), common, assume_unique=True)


def near_copies(
    keys: Iterable[int], get: Callable[[int], Shingles], similar: Callable[[int, int], bool]
) -> tuple[dict[int, int], int]:
    """{text: the earlier text that it is a near copy of}, and for how many texts the search was cut short.

    Each text is compared with the earlier ones that are themselves no copies, so a chain of small changes is not one
    group, and masses of copies do not make the search quadratic.
    """
    search = Search(similar)
    nearest = {key: search.find(key, get(key), add=True) for key in keys}
    return {key: other for key, other in nearest.items() if other is not None}, search.unfinished
