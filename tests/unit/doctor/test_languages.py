"""Languages of prompts."""

from __future__ import annotations

import dataclasses
import sys

import pytest

from vrm.doctor import diagnose
from vrm.doctor.findings import check_extra
from vrm.doctor.languages import UNSURE, language_of
from vrm.errors import MissingExtraError

from .conftest import pair

GERMAN = "Welche Bäume wachsen in den Wäldern nördlich der Alpen am schnellsten, und warum ist das so?"
FRENCH = "Quels arbres poussent le plus vite dans les forêts au nord des Alpes, et pourquoi donc?"
ENGLISH = "Which trees grow the fastest in the forests north of the mountains, and why is that so?"


@pytest.mark.parametrize(("text", "expected"), [(ENGLISH, "en"), (GERMAN, "de"), (FRENCH, "fr")])
def test_languages_are_told(text, expected):
    assert language_of(text) == expected


@pytest.mark.parametrize("text", ["", "Hallo!", "x = 1; y = 2; z = 3; 17 + 4"])
def test_what_cannot_be_told(text):
    assert language_of(text) == UNSURE


@pytest.mark.parametrize(
    "text",
    [
        "Explain `async def main():`",
        "Implement list.sort()",
        "Implement null pointer exception",
        "Implement quicksort in C++",
        "Debug a Python decorator",
        "Implement null pointer exception variant",
        "Validate regression model compile error",
        "Debug unit tests for parse_json()",
        "Optimize pandas merge",
        "Document lambda x: x * 2",
        "kubectl get pods -n kube-system",
        "def is_palindrome(s: str) -> bool:",
        "HTTP 404 vs 410",
        "SELECT name FROM t GROUP BY name HAVING COUNT(*) > 1",
        "public static void main(String[] args)",
        "How do I sort a dict in Python?",
        "Write a function that reverses a list:\n```python\ndef umkehren(liste):\n    return liste[::-1]\n```",
        "okay, how do i start?",
    ],
)
def test_english_with_code_is_no_other_language(text):
    assert language_of(text) in ("en", UNSURE)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Wie sortiere ich eine Liste in Python?", "de"),
        ("Schreibe eine Funktion, die Primzahlen findet: def prim(n):", "de"),
        ("Explique cette fonction : def f(x): return x+1", "fr"),
        ("Как отсортировать список в Python?", "ru"),
        ("Pythonでリストを並べ替える方法は、3つありますか？", "ja"),
        ("如何在Python中对列表list.sort()进行排序，并且保持原来的顺序不变？", "zh"),
    ],
)
def test_other_languages_with_code_are_told(text, expected):
    assert language_of(text) == expected


def rows(*prompts):
    return [pair(prompt, f"a{n}", f"b{n}") for n, prompt in enumerate(prompts)]


def test_the_mix_is_counted_over_different_prompts(find):
    found = find("languages", rows(ENGLISH, ENGLISH, GERMAN, "Hm?"))
    assert found.severity == "info"
    assert found.details["counts"] == {"en": 1, "de": 1, UNSURE: 1}
    assert (found.count, found.total) == (1, 2)
    assert "en 50.0 %, de 50.0 %; not told for 1 prompt" in found.message
    assert found.places[0].endswith(":3")


def test_other_languages_and_an_english_backbone(find, tiny_reading):
    english = dataclasses.replace(tiny_reading, name="embedded")
    found = find("languages", rows(ENGLISH, GERMAN), reading=english)
    assert found.severity == "warning"
    assert "multilingual" in found.advice
    assert find("languages", rows(ENGLISH, ENGLISH + " Please!"), reading=english).severity == "info"


def test_a_sample_is_named_as_one(find):
    found = find("languages", rows(ENGLISH, ENGLISH + " Well?", ENGLISH + " Tell me!"), sample=2)
    assert "a sample of 3 prompts" in found.message
    assert found.details["looked_at"] == 2


def test_rare_languages_are_put_together(find):
    many = [f"{ENGLISH} I ask this {n} times." for n in range(220)]
    found = find("languages", rows(*many, GERMAN))
    assert "others 0.5 %" in found.message
    assert found.details["counts"]["de"] == 1


def test_without_py3langid_the_error_says_what_to_install(monkeypatch, write, clean):
    monkeypatch.setitem(sys.modules, "py3langid", None)
    with pytest.raises(MissingExtraError, match=r"'py3langid'.*pip install 'vrm\[doctor\]'"):
        check_extra()
    with pytest.raises(MissingExtraError):
        diagnose(write(clean))
