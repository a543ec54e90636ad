"""What stands in two files."""

from __future__ import annotations

import pytest

from vrm.data import load_judgments, shared_prompts

from .conftest import pair

LONG = "explain how the quick brown fox jumps over the lazy dog while seventeen geese watch from a hill"


def test_nothing_is_compared_with_one_file(look, clean):
    assert not [found for found in look(clean).findings if "shared" in found.name]


def test_separate_files_share_nothing(look, clean):
    report = look(clean[:6], clean[6:])
    assert {found.severity for found in report.findings if "shared" in found.name} == {"ok"}


def test_one_shared_prompt_is_an_error(look, find, write, clean):
    leaked = pair(clean[1]["prompt"].lower() + " ", "new", "texts")
    report = look(clean[:6], [*clean[6:], leaked, leaked])
    (found,) = (found for found in report.findings if found.name == "shared_prompts")
    assert (found.severity, found.count, found.total) == ("error", 1, 6)
    assert found.details == {"rows_of_second": 2}
    first, second = found.places[0].split(" and ")
    assert first.endswith("file0.jsonl:2")
    assert second.endswith("file1.jsonl:7")
    assert report.invalid
    one, other = (load_judgments(first.rpartition(":")[0]).judgments for first in (first, second))
    assert found.count == shared_prompts(one, other)


def test_a_prompt_of_text_and_one_of_messages_are_the_same(find, clean):
    chat = {
        "prompt": [{"role": "user", "content": clean[0]["prompt"]}],
        "chosen": [{"role": "assistant", "content": "yes"}],
        "rejected": [{"role": "assistant", "content": "no"}],
    }
    assert find("shared_prompts", clean, [chat]).count == 1


@pytest.mark.parametrize("turned", [False, True])
def test_near_copies_in_the_other_file(find, clean, turned):
    # The file with fewer prompts has more rows, so that keys of the two must not be mixed up.
    small = [pair(f"{LONG} now", f"a{n}", f"b{n}") for n in range(20)]
    large = [*clean, pair(f"{LONG} soon", "c", "d")]
    files = (large, small) if turned else (small, large)
    found = find("near_shared_prompts", *files)
    assert (found.severity, found.count, found.total) == ("error", 1, 1)
    assert found.places[0].split(" and ")[0].endswith("jsonl:13")
    assert find("shared_prompts", *files).severity == "ok"


def test_exactly_shared_prompts_are_not_counted_as_near_ones_too(find, clean):
    found = find("near_shared_prompts", clean, clean[:3])
    assert (found.severity, found.count) == ("ok", 0)


def test_few_near_copies_are_a_warning(find):
    many = [pair(f"What is the {n * 7919}th number after {n * 104729} or {n}?", "x", f"y{n}") for n in range(150)]
    found = find("near_shared_prompts", [*many, pair(LONG, "a", "b")], [*_others(150), pair(LONG + " ok", "c", "d")])
    assert (found.severity, found.count, found.total) == ("warning", 1, 151)


def _others(count: int) -> list[dict[str, object]]:
    return [pair(f"Name {n * 31} and {n * 37} things that fly, {n}!", "p", f"q{n}") for n in range(count)]


def test_every_two_files_are_compared(look, clean):
    report = look(clean[:4], clean[4:8], [*clean[8:], clean[0]])
    found = {finding.files: finding.count for finding in report.findings if finding.name == "shared_prompts"}
    assert found == {("file0", "file1"): 0, ("file0", "file2"): 1, ("file1", "file2"): 0}


def test_categories_are_compared_if_the_split_is_by_category(look, find, clean):
    labelled = [{**row, "category": str(index % 3)} for index, row in enumerate(clean)]
    assert not [found for found in look(labelled[:6], labelled[6:]).findings if found.name == "shared_categories"]
    found = find(
        "shared_categories", labelled[:6], [{**labelled[7], "category": "9"}, labelled[8]], split_by="category"
    )
    assert (found.severity, found.count, found.total) == ("error", 1, 2)
    assert found.details == {"categories": ["2"]}
    apart = [{**row, "category": "new"} for row in clean[6:]]
    assert find("shared_categories", labelled[:6], apart, split_by="category").severity == "ok"
    lacking = find("shared_categories", labelled[:6], clean[6:], split_by="category")
    assert lacking.severity == "not run"
    assert "file1" in lacking.message
