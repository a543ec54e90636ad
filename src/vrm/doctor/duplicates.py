"""Rows and prompts that occur again in the same file, exactly or nearly.

Word shingles, MinHash and locality-sensitive hashing find near copies, and exact Jaccard similarity decides:

Broder, "On the resemblance and containment of documents" (1997); Leskovec, Rajaraman and Ullman, "Mining of Massive
Datasets", chapter 3.
"""

from __future__ import annotations

import re
import unicodedata
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from itertools import compress
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

from vrm.data.schema import Judgment
from vrm.data.style import plain_text
from vrm.doctor.findings import Check, DoctorSettings
from vrm.doctor.rows import FileRows, evenly, occurring_again
from vrm.results.doctor import Finding, Severity
from vrm.results.formats import plural

if TYPE_CHECKING:
    from datasketch import MinHash

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


def words(text: str) -> list[str]:
    """The first `MAX_WORDS` words, in lower case; punctuation is left out."""
    # Characters enough for the words asked for, so that a very long text costs no more.
    folded = unicodedata.normalize("NFKC", text[: 40 * MAX_WORDS]).casefold()
    return _WORD.findall(folded)[:MAX_WORDS]


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


class Search:
    """Looks for near copies, and counts the texts whose candidates were too many to compare with all.

    All texts are sketched first. Most have no band in common with another one, and only those that have are indexed: an
    index of every band (that of datasketch, say) takes several kilobytes a text.

    Args:
        keys: of the texts that will be added or looked for.
        get: shingles by key.
        similar: whether two keys are near copies, exactly.
    """

    def __init__(
        self, keys: Sequence[int], get: Callable[[int], Shingles], similar: Callable[[int, int], bool]
    ) -> None:
        bands = np.zeros((len(keys), BANDS[0]), dtype=np.uint64)
        sketched = np.array([_sketch(get(key), bands[place]) for place, key in enumerate(keys)], dtype=bool)
        self._marks: dict[int, list[tuple[int, int]]] = defaultdict(list)
        for band, column in enumerate(bands.T):
            _, place_of, counts = np.unique(column[sketched], return_inverse=True, return_counts=True)
            for place in np.flatnonzero(sketched)[counts[place_of] > 1]:
                self._marks[keys[place]].append((band, int(column[place])))
        self._index: dict[tuple[int, int], list[int]] = defaultdict(list)
        self._similar, self.unfinished = similar, 0

    def add(self, key: int) -> None:
        """Make a text one that others can be copies of."""
        for mark in self._marks.get(key, ()):
            self._index[mark].append(key)

    def find(self, key: int, add: bool = False) -> int | None:
        """The first added text that this one is a near copy of; None if there is none, and then it is added too."""
        candidates = sorted({other for mark in self._marks.get(key, ()) for other in self._index.get(mark, ())})
        for other in candidates[:MAX_CANDIDATES]:
            if self._similar(key, other):
                return other
        self.unfinished += len(candidates) > MAX_CANDIDATES
        if add:
            self.add(key)
        return None


def _sketch(values: Shingles, bands: NDArray[np.uint64]) -> bool:
    """Write a hash of each band of a text's MinHash; False where the text has no words."""
    if not len(values):
        return False
    sketch = _empty_sketch().copy()
    sketch.update_batch((values >> np.uint64(32)).tolist())
    columns = sketch.hashvalues[: BANDS[0] * BANDS[1]].reshape(BANDS).T
    for column in columns:
        np.multiply(bands ^ column, _MULTIPLIER, out=bands)
        bands ^= bands >> _SHIFT
    return True


@lru_cache(maxsize=1)
def _empty_sketch() -> MinHash:
    from datasketch import MinHash

    return MinHash(num_perm=PERMUTATIONS, seed=1, hashfunc=int)


def remembered(read: Callable[..., str]) -> Callable[..., Shingles]:
    """Shingles of texts by key, the latest 4096 of them kept: candidates are compared again and again."""
    return lru_cache(maxsize=4096)(lambda *key: shingles(read(*key)))


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
    listed = list(keys)
    search = Search(listed, get, similar)
    nearest = ((key, search.find(key, add=True)) for key in listed)
    return {key: other for key, other in nearest if other is not None}, search.unfinished


def check_duplicates(rows: FileRows, settings: DoctorSettings) -> list[Finding]:
    """Repeated prompts and rows, near copies of both, and completions that stand under several prompts."""
    repeated = _repeated_rows(rows)
    return [
        _repeated_prompts(rows, settings),
        _near_prompts(rows, settings),
        _duplicate_rows(rows, settings, repeated),
        _near_rows(rows, settings, repeated),
        _repeated_completions(rows, settings),
    ]


def _repeated_prompts(rows: FileRows, settings: DoctorSettings) -> Finding:
    counts = Counter(rows.prompts)
    largest, several = max(counts.values(), default=0), sum(count > 1 for count in counts.values())
    again = [row for row, key in enumerate(rows.prompts) if counts[key] > 1]
    # Places of the most frequent prompt: what to look at if one prompt dominates.
    shown = rows.places((row for row in again if counts[rows.prompts[row]] == largest), settings.examples)
    return Check("repeated_prompts", (rows.name,), len(again), len(rows), shown).finding(
        Severity.INFO if again else Severity.OK,
        f"{plural(len(counts), 'different prompt')} in {plural(len(rows), 'row')}; {several:,} with several rows, the "
        f"most frequent one with {largest:,}.",
        "Split by prompt, not by row (vrm train does), and take intervals over prompts." if again else "",
        {"prompts": len(counts), "largest": largest},
    )


def _near_prompts(rows: FileRows, settings: DoctorSettings) -> Finding:
    first = sorted(rows.first_rows().values())
    near = settings.thresholds.near
    get = without_boilerplate(first, remembered(lambda row: plain_text(rows.judgments[row].prompt)))
    copies, unfinished = near_copies(first, get, lambda one, other: jaccard(get(one), get(other)) >= near)
    check = Check.of("near_duplicate_prompts", rows, settings, copies, len(first))
    return check.by_share(
        f"{plural(len(copies), 'prompt is a near copy', 'prompts are near copies')} of another prompt of the file "
        f"({check.percent} of the different prompts)." + unfinished_note(unfinished),
        "A split by prompt does not see near copies, so they can end up on both sides: hold out by category or source, "
        "and run the doctor on both parts.",
        warning=settings.thresholds.near_duplicate_prompts,
        details={"jaccard": near, "search_cut_short": unfinished},
    )


def _repeated_rows(rows: FileRows) -> dict[int, int]:
    """{row: the earlier row with the same prompt, completions (in any order), preferences, and the same annotator}.

    Where either names no annotator, nothing tells a second one from a copy. A row is its own earlier row where one of
    its annotators says the same twice.
    """
    first: dict[tuple[object, ...], dict[str, int]] = defaultdict(dict)
    repeated = {}
    keys = (_row_key(rows, row, judgment) for row, judgment in enumerate(rows.judgments))
    for row in np.flatnonzero(occurring_again(keys) | rows.several_raters):
        judgment = rows.judgments[row]
        if not judgment.completions:
            continue
        seen, who = first[_row_key(rows, row, judgment)], _judges(judgment)
        earlier = seen.get(who, seen.get("")) if who else next(iter(seen.values()), None)
        seen.setdefault(who, int(row))
        if earlier is not None or _says_twice(judgment):
            repeated[int(row)] = int(row) if earlier is None else earlier
    return repeated


def _judges(judgment: Judgment) -> str:
    """The annotators of a row as a text; empty where none is named."""
    return "\n".join(sorted(name for name in judgment.annotators if name is not None))


def _says_twice(judgment: Judgment) -> bool:
    said = [(one.annotator, one.preference) for one in judgment.judgments or [] if one.annotator is not None]
    return len(said) > len({*said})


def _row_key(rows: FileRows, row: int, judgment: Judgment) -> tuple[object, ...]:
    """Prompt, and completions with what is said of each; the order of the completions does not count."""
    if judgment.is_comparison:
        preference = float(judgment.preference or 0.0)
        labels: list[object] = [preference, 1.0 - preference]
    else:
        labels = list(judgment.scores or [0.0] * len(judgment.completions))
    return (rows.prompts[row], *sorted(zip(rows.completions[row], labels, strict=True), key=str))


def _duplicate_rows(rows: FileRows, settings: DoctorSettings, repeated: dict[int, int]) -> Finding:
    total = sum(map(bool, rows.completions))
    check = Check.of("duplicate_rows", rows, settings, repeated, total)
    return check.by_share(
        f"{plural(len(repeated), 'row repeats', 'rows repeat')} an earlier row: the same prompt, completions and label "
        f"({check.percent}).",
        "Keep one row of each, unless the repeats are judgments of different people: then name them in 'annotator'.",
        warning=settings.thresholds.duplicate_rows,
    )


def _near_rows(rows: FileRows, settings: DoctorSettings, repeated: dict[int, int]) -> Finding:
    different: dict[tuple[str, ...], int] = {}
    for row, completions in enumerate(rows.completions):
        if completions and repeated.get(row, row) == row:
            # The same pair with another label is the contradiction check's.
            different.setdefault((rows.prompts[row], *sorted(completions)), row)
    compare = _RowComparison(rows, settings.thresholds.near)
    copies, unfinished = near_copies(sorted(different.values()), compare.completions, compare.similar)
    check = Check.of("near_duplicate_rows", rows, settings, copies, len(different))
    return check.by_share(
        f"{plural(len(copies), 'row is a near copy', 'rows are near copies')} of another row: prompt and every "
        f"completion ({check.percent} of the different ones)." + unfinished_note(unfinished),
        "Look at some: templates and edits count as one judgment, not as several.",
        warning=settings.thresholds.duplicate_rows,
        details={"jaccard": settings.thresholds.near, "search_cut_short": unfinished},
    )


def _repeated_completions(rows: FileRows, settings: DoctorSettings) -> Finding:
    """Completions that stand under several prompts, and how often they are preferred to a text that does not."""
    under: dict[str, set[str]] = defaultdict(set)
    texts = ((prompt, key) for prompt, keys in zip(rows.prompts, rows.completions, strict=True) for key in keys)
    again = occurring_again(key for keys in rows.completions for key in keys)
    for prompt, key in compress(texts, again):
        under[key].add(prompt)
    stock = {key: len(prompts) for key, prompts in under.items() if len(prompts) > 1}
    at = [row for row, keys in enumerate(rows.completions) for key in keys if key in stock]
    # The most frequent text first: what to look at if one dominates.
    at.sort(key=lambda row: -max(stock.get(key, 0) for key in rows.completions[row]))
    won = lost = 0
    for pair in rows.pairs:
        first, second = (rows.completions[pair.row][side] in stock for side in (pair.first, pair.second))
        if first != second:
            won += pair.sign == (1 if first else -1)
            lost += pair.sign == (-1 if first else 1)
    check = Check.of("repeated_completions", rows, settings, at, sum(map(len, rows.completions)))
    message = (
        f"{plural(len(stock), 'completion stands', 'completions stand')} under several prompts ({check.percent} of all "
        "completions)"
    )
    if stock:
        message += (
            f", the most frequent under {max(stock.values()):,}; they win {won:,} and lose {lost:,} pairs with others"
        )
    return check.by_share(
        message + ".",
        "A model can learn such texts by heart in place of what makes a completion good. Keep each under few prompts, "
        "unless short answers (yes, no, a number) are what is judged.",
        warning=settings.thresholds.repeated_completions,
        details={"texts": len(stock), "largest": max(stock.values(), default=0), "won": won, "lost": lost},
    )


class _RowComparison:
    """Rows as sets of shingles, and whether two rows are near copies part by part."""

    def __init__(self, rows: FileRows, near: float) -> None:
        self._rows, self._near = rows, near
        self._prompt = remembered(lambda row: plain_text(rows.judgments[row].prompt))
        self._text = remembered(lambda row, position: plain_text(rows.judgments[row].completions[position]))

    def completions(self, row: int) -> Shingles:
        """Shingles of all completions of a row together."""
        count = len(self._rows.judgments[row].completions)
        return np.unique(np.concatenate([self._text(row, position) for position in range(count)]))

    def similar(self, one: int, other: int) -> bool:
        """Whether the prompts are near copies, and the completions one by one, in the same or in the reverse order."""
        mine, theirs = self._rows.completions[one], self._rows.completions[other]
        if len(mine) != len(theirs):
            return False
        order = range(len(mine))
        return any(
            all(self._same_completion((one, a), (other, b)) for a, b in zip(order, turned, strict=True))
            for turned in (order, reversed(order))
        ) and (
            self._rows.prompts[one] == self._rows.prompts[other]
            or jaccard(self._prompt(one), self._prompt(other)) >= self._near
        )

    def _same_completion(self, one: tuple[int, int], other: tuple[int, int]) -> bool:
        keys = self._rows.completions
        if keys[one[0]][one[1]] == keys[other[0]][other[1]]:
            return True
        return jaccard(self._text(*one), self._text(*other)) >= self._near


def unfinished_note(unfinished: int) -> str:
    """A sentence for texts that had too many similar ones to be compared with all."""
    return f" For {unfinished:,} the search was cut short, so there may be more." if unfinished else ""
