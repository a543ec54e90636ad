"""Near copies: shingles, exact Jaccard, and the search against comparing everything with everything."""

from __future__ import annotations

import random
import sys

import numpy as np
import pytest

from vrm.doctor.duplicates import (
    MAX_WORDS,
    SHINGLE_WORDS,
    Search,
    jaccard,
    near_copies,
    remembered,
    shingles,
    without_boilerplate,
    words,
)
from vrm.doctor.findings import check_extra
from vrm.errors import MissingExtraError

THRESHOLD = 0.8


def brute_shingles(text: str) -> set[tuple[str, ...]]:
    found = "".join(char if char.isalnum() else " " for char in text.lower()).split()
    return {tuple(found[at : at + SHINGLE_WORDS]) for at in range(max(len(found) - SHINGLE_WORDS + 1, 1))}


def brute_jaccard(first: str, second: str) -> float:
    one, other = brute_shingles(first), brute_shingles(second)
    return len(one & other) / len(one | other)


def texts(count: int = 120) -> list[str]:
    """Random texts, and for a third of them copies with a few words changed, from hardly to half."""
    random.seed(0)
    vocabulary = [f"w{number}" for number in range(500)]
    found = []
    for index in range(count):
        if index % 3 == 2:
            copied = found[random.randrange(len(found))].split()
            for _ in range(random.choice([0, 1, 1, 2, 4, 10])):
                copied[random.randrange(len(copied))] = random.choice(vocabulary)
            found.append(" ".join(copied))
        else:
            found.append(" ".join(random.choices(vocabulary, k=random.randint(1, 120))))
    return found


def test_jaccard_is_that_of_the_sets_of_word_runs():
    made = texts(60)
    for one in made[:20]:
        for other in made:
            assert jaccard(shingles(one), shingles(other)) == pytest.approx(brute_jaccard(one, other))


def test_what_is_found_is_what_comparing_all_finds():
    made = texts()
    expected, leaders = {}, []
    for index, text in enumerate(made):
        copy_of = [leader for leader in leaders if brute_jaccard(text, made[leader]) >= THRESHOLD]
        if copy_of:
            expected[index] = copy_of[0]
        else:
            leaders.append(index)
    get = remembered(made.__getitem__)
    found, unfinished = near_copies(range(len(made)), get, lambda a, b: jaccard(get(a), get(b)) >= THRESHOLD)
    assert found == expected
    assert 10 < len(expected) < 40
    assert unfinished == 0


def test_a_mass_of_similar_texts_is_cut_short_and_counted():
    values = shingles("one two three four five")
    search = Search([*range(101), 200], lambda key: values, lambda one, other: False)
    for key in range(101):
        search.add(key)
    assert search.find(200) is None
    assert search.unfinished == 1


def test_words_ignore_case_punctuation_and_unicode_form():
    assert words("The CAT, sat!\n(on) the-mat") == ["the", "cat", "sat", "on", "the", "mat"]
    assert words("ﬁne") == ["fine"]
    assert len(words("word " * 2000)) == MAX_WORDS


def test_scripts_without_spaces_are_cut_into_characters():
    assert words("我爱猫 abc猫") == ["我", "爱", "猫", "abc", "猫"]
    assert jaccard(shingles("我非常喜欢这只黑色的猫"), shingles("我非常喜欢这只白色的猫")) > 0.4


def test_short_and_empty_texts():
    assert len(shingles("oak")) == len(shingles("an oak")) == 1
    assert jaccard(shingles("oak"), shingles("Oak!")) == 1.0
    assert jaccard(shingles("an oak"), shingles("oak an")) == 0.0
    assert jaccard(shingles("oak"), shingles("oak oak")) == 0.0
    assert len(shingles("?!")) == 0
    assert jaccard(shingles("?!"), shingles("?!")) == 0.0
    assert Search([0, 1], lambda key: shingles("?!"), lambda one, other: True).find(0) is None


def test_shingles_are_sorted_and_unique():
    found = shingles("a b c a b c a b c")
    assert len(found) == 3
    assert (np.diff(found.astype(object)) > 0).all()


def test_without_datasketch_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasketch", None)
    with pytest.raises(MissingExtraError, match=r"'datasketch'.*pip install 'vrm\[doctor\]'"):
        check_extra()


def test_a_template_does_not_make_near_copies():
    template = "You are a helpful assistant who answers briefly and politely in plain words. The question is this one:"
    asked = [f"{template} {text}" for text in texts(30)]
    get = remembered(asked.__getitem__)
    bare = without_boilerplate(range(30), get)
    assert jaccard(bare(0), bare(1)) < jaccard(get(0), get(1))
    copies, _ = near_copies(range(30), bare, lambda a, b: jaccard(bare(a), bare(b)) >= THRESHOLD)
    plain = remembered(texts(30).__getitem__)
    expected, _ = near_copies(range(30), plain, lambda a, b: jaccard(plain(a), plain(b)) >= THRESHOLD)
    assert copies.keys() == expected.keys()


def test_what_few_texts_share_is_no_boilerplate():
    asked = [*texts(30), *["the very same words once again"] * 4]
    get = remembered(asked.__getitem__)
    assert len(without_boilerplate(range(34), get)(33)) == len(get(33)) == 4
    four = [f"the very same words {n}" for n in range(4)]
    get = remembered(four.__getitem__)
    assert without_boilerplate(range(4), get) is get
