"""The page: complete, well-formed, self-contained, harmless, and the same every time."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest

from vrm.errors import DataError
from vrm.report import read_inputs, render_report
from vrm.report.render import SECTIONS
from vrm.results import FileEvaluation, RunDocument, Verdict

SCRIPT = "<script>alert('x')</script>"
pytestmark = pytest.mark.heavy

HEADINGS = [
    "Summary", "Accuracy", "Comparisons", "Calibration", "Selective accuracy", "Best-of-n", "Audit", "Data checks",
    "Objective weights by category", "Most confident mistakes", "Training", "Settings and versions",
]  # fmt: skip


def test_everything_is_shown_in_order_with_a_table_of_contents(full_page):
    page = full_page
    assert page.headings == HEADINGS
    links = [value for tag, name, value in page.attributes if (tag, name) == ("a", "href")]
    assert len(links) == len(HEADINGS)
    assert {link.removeprefix("#") for link in links} <= set(page.ids)
    assert "From 2 training runs, 2 evaluations, 1 comparison, 1 audit, 1 data check" in page.text


def test_ids_are_unique(full_page):
    assert len(full_page.ids) > 20
    assert len(set(full_page.ids)) == len(full_page.ids)


def test_nothing_is_loaded_or_run(full_page):
    page = full_page
    assert not {"script", "link", "img", "iframe", "object", "embed", "form", "base"} & set(page.tags)
    for tag, name, value in page.attributes:
        assert not name.startswith("on")
        if name in ("href", "src", "xlink:href"):
            assert value.startswith("#"), (tag, name, value)
    assert not re.search(r"https?:|//[a-z]|@import|javascript:", page.markup)
    assert set(re.findall(r"url\(([^)]*)\)", page.markup)) <= {f"#{name}" for name in page.ids}
    policy = next(value for tag, name, value in page.attributes if (tag, name) == ("meta", "content"))
    assert policy == "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


def test_the_same_inputs_give_the_same_bytes_of_a_modest_size(everything, full_page):
    again = render_report(read_inputs(everything))
    assert again == full_page.markup
    assert len(again.encode()) < 3_000_000


@pytest.mark.parametrize("name", ["audit.json", "doctor.json", "c.json", "runs/a"])
def test_one_input_alone_makes_a_page(everything, render, name):
    (path,) = (path for path in everything if str(path).endswith(f"/{name}"))
    page = render(path)
    assert 2 <= len(page.headings) < len(HEADINGS)
    assert "Settings and versions" in page.headings


def test_what_is_missing_is_named_with_its_file(write, write_run, render, make):
    bare = make.evaluation("runs/a/model", {"data/test.jsonl": FileEvaluation(pairs=make.measured().pairs)})
    path = write("bare.json", bare)
    run = write_run("u", summary=None, history=None)
    (run / "history.jsonl").write_text("", encoding="utf-8")
    page = render(path, run)
    assert "Not shown" in page.headings
    for words in (
        f"Selective accuracy: {path}: no curves of test.jsonl",
        f"Most confident mistakes: {path}: it explains no mistakes of a on test.jsonl",
        f"Training: {run}: no run.json: the run is not finished",
        f"Training: {run}: no history.jsonl, or an empty one, so no curves of this run",
    ):
        assert words in page.text
    assert "Best-of-n" not in page.headings


def test_texts_of_the_inputs_are_harmless(write, write_run, render, make):
    measured = make.measured()
    weights = measured.weights_by_category
    measured = replace(
        measured,
        mistakes=(make.mistake(prompt=f"p {SCRIPT}", chosen=f"c {SCRIPT}", rejected='"><img src=x onerror=y>'),),
        weights_by_category=replace(
            weights, objectives=(SCRIPT, "brevity"), groups=weights.groups | {SCRIPT: weights.overall}
        ),
        by_category=measured.by_category | {SCRIPT: measured.pairs},
    )
    two = [write(f"{name}.json", make.evaluation(f"runs/{name}/model", {SCRIPT: measured})) for name in ("<b>m", "a'b")]
    audit, doctor = make.audit(SCRIPT), make.doctor()
    audit = replace(audit, edits=(replace(audit.edits[0], name=SCRIPT), *audit.edits[1:]))
    doctor = replace(doctor, findings=(replace(doctor.findings[0], message=SCRIPT, advice=SCRIPT, places=(SCRIPT,)),))
    compared = make.comparison(SCRIPT, "b", SCRIPT, (0.1, 0.0, 0.2))
    compared = replace(compared, files={SCRIPT: replace(compared.files[SCRIPT], conclusions=(SCRIPT,))})
    run = write_run("r", RunDocument(config={SCRIPT: {"model": SCRIPT}}, versions={SCRIPT: SCRIPT}))
    paths = [*two, write("x.json", audit), write("d.json", doctor), write("c.json", compared), run]
    page = render(*paths, title=SCRIPT)
    assert not {"script", "b", "img"} & set(page.tags)
    for told in (f"p {SCRIPT}", f"c {SCRIPT}", '"><img src=x onerror=y>', "<b>m", "a'b"):
        assert told in page.text
    assert page.text.count(SCRIPT) >= 20


def test_characters_that_no_page_may_hold_are_replaced(write, render, make):
    measured = replace(
        make.measured(), mistakes=(make.mistake(prompt="a\x00b\x1bc\ud800d\ufffee", chosen="\u202ek\u0085"),)
    )
    page = render(write("a.json", make.evaluation("m", {"t": measured})))
    assert "a\ufffdb\ufffdc\ufffdd\ufffde" in page.text
    page.markup.encode("utf-8")
    assert not re.search("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]", page.markup)


def test_a_mistake_has_the_command_that_opens_it(write, render, make):
    measured = replace(make.measured(), mistakes=(replace(make.mistake(), file="my rows.jsonl", line=7),))
    page = render(write("a.json", make.evaluation("runs/a/model", {"my rows.jsonl": measured})))
    assert "vrm explore runs/a/model 'my rows.jsonl' --line 7" in page.text
    nameless = render(write("b.json", make.evaluation("", {"my rows.jsonl": measured})))
    assert "vrm explore" not in nameless.text


def test_contributions_are_drawn_to_both_sides(write, render, make):
    page = render(write("a.json", make.evaluation("m", {"t": replace(make.measured(), mistakes=(make.mistake(),))})))
    contributions = [report.contributions for report in make.mistake().explanation.completions]
    values = [value for named in contributions for value in named.values()]
    widths = [float(width) for width in re.findall(r"50%;width:([0-9.]+)%", page.markup)]
    most = max(map(abs, values))
    assert sorted(widths) == pytest.approx(sorted(50 * abs(value) / most for value in values), abs=0.06)
    assert page.markup.count('class="against"') == sum(value < 0 for value in values)


def test_long_texts_are_cut_and_say_so(write, render, make):
    measured = replace(make.measured(), mistakes=(make.mistake(chosen="x" * 5000),))
    page = render(write("a.json", make.evaluation("m", {"t": measured})))
    assert "A, which judges prefer (4,400 more characters)" in page.text
    assert "x" * 600 in page.markup
    assert "x" * 601 not in page.markup


JUNK = [None, True, -1, 1e300, "inf", "", SCRIPT, [], {}, [None], {"": None}, [[1]], {"estimate": {}}, "x" * 300]


def branches(value, path=()):
    yield path
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in children:
        yield from branches(child, (*path, key))


def replaced(value, path, junk):
    if not path:
        return junk
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = replaced(value[path[0]], path[1:], junk)
    return copy


class NoCharts:
    """Draws nothing: what a section does with a document is what is tested."""

    def __getattr__(self, name):
        from vrm.report.blocks import Chart

        return lambda *args: Chart("<svg></svg>", str(args[-1]))


@pytest.mark.parametrize("name", ["a.json", "c.json", "audit.json", "doctor.json"])
def test_no_document_of_odd_content_crashes_a_section(everything, write, name):
    """Every part of a document in turn is junk: it is refused with the file's name, or shown without the part."""
    from vrm.report.view import view_of

    (path,) = [path for path in everything if path.name == name]
    content = json.loads(path.read_text(encoding="utf-8"))
    shown, refusals = 0, []
    for number, place in enumerate(branches(content)):
        if place and not any(isinstance(part, int) and part > 0 for part in place):
            odd = write("x.json", replaced(content, place, JUNK[number % len(JUNK)]))
            try:
                view = view_of(read_inputs([odd]))
            except DataError as error:
                refusals.append(str(error))
                continue
            for make_section in SECTIONS:
                make_section(view, NoCharts())
            shown += 1
    assert all(message.startswith(str(odd)) for message in refusals)
    assert min(shown, len(refusals)) > 5
    assert shown + len(refusals) > 20


def test_few_prompts_are_said_and_edits_on_too_few_are_not_judged(make, write):
    whole = make.audit()
    few = replace(whole, prompts=8, edits=tuple(replace(edit, verdict=Verdict.TOO_FEW) for edit in whole.edits[:2]))
    page = render_report(read_inputs([write("few.json", few)]))
    assert "2 of 2 edits were not judged: too few prompts." in page
    assert "do not reliably lower" not in page
    assert "Only 8 prompts" in page
    one = replace(whole, edits=(whole.edits[2], few.edits[0]))
    page = render_report(read_inputs([write("one.json", one)]))
    assert "0 of 1 edits that add nothing raise the reward; 1 of 2 edits were not judged: too few prompts." in page
