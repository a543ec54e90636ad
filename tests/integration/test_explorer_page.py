"""The page `/explore` in a real browser: what a person types, moves and reads."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from vrm.data.schema import Judgment
from vrm.inference.engine import RewardEngine
from vrm.inference.explain import explain
from vrm.inference.extraction import ExtractionOptions
from vrm.inference.sentences import explain_with_sentences
from vrm.inference.steering import Steering
from vrm.serve.browsing import Browsed, summaries_of
from vrm.serve.explorer import Explored
from vrm.serve.service import Service

ATTACK = '<img src=x onerror="window.hurt=1"><script>window.hurt=1</script>'
PROMPT = f"how do i plan a safe city {ATTACK}"
COMPLETIONS = ["very good water. Not safe at all. Ask the doctor!", "no thanks sorry", f"short {ATTACK} and safe"]
ROWS = [
    Judgment("what can we do", ["good story", "no"], category="advice", line=1),
    Judgment("tell me why the water is long", ["please help", "number one"], category="facts", line=2),
]
WAIT = 60_000
"""Milliseconds: machines that test are busy."""


@pytest.fixture(scope="module")
def engine(tiny_model_dir, known_raters) -> RewardEngine:
    engine = RewardEngine.from_pretrained(tiny_model_dir, options=ExtractionOptions(precision="float32"))
    engine.raters = known_raters({"ana": {"safety": 2.5, "brevity": -2.0}})
    return engine


@pytest.fixture(scope="module")
def url(serve, tiny_model_dir, engine) -> Iterator[str]:
    browsed = Browsed("rows.jsonl", ROWS, summaries_of(engine, ROWS))
    with serve(tiny_model_dir, raters=engine.raters, explored=Explored(browsed)) as server:
        yield server.url


@pytest.fixture
def open_page(browser) -> Iterator[Callable[..., Any]]:
    """open_page(url, **options of a page): the explorer, once it shows a ranking; complaints fail the test."""
    complaints: list[str] = []
    pages = []

    def open_page(url: str, **options: Any) -> Any:
        page = browser.new_page(**options)
        page.set_default_timeout(WAIT)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda line: complaints.append(line.text) if line.type == "error" else None)
        page.goto(f"{url}/explore")
        page.wait_for_selector(".ranking li")
        pages.append(page)
        return page

    yield open_page
    for page in pages:
        page.close()
    assert complaints == []


def soon(locator: Any) -> Any:
    """What will be true of a locator. Asked from outside: the page's policy forbids code that is given as text."""
    from playwright.sync_api import expect

    return expect(locator)


def write(page: Any, prompt: str, completions: list[str]) -> None:
    """Type texts, and wait until the model has read them."""
    while page.locator(".completions li").count() < len(completions):
        page.get_by_role("button", name="Add a completion").click()
    page.get_by_label("Prompt", exact=True).fill(prompt)
    for place, text in enumerate(completions):
        page.get_by_label(f"Completion {chr(65 + place)}", exact=True).fill(text)
    with page.expect_response("**/v1/explain"):
        page.keyboard.press("Control+Enter")
    page.wait_for_selector('.model[aria-busy="false"]')
    soon(page.locator(".ranking li")).to_have_count(len(completions), timeout=WAIT)


def settled(page: Any, act: Callable[[], object]) -> None:
    """Do something, and wait until the server has answered about it."""
    with page.expect_response("**/v1/explain"):
        act()
    page.wait_for_selector('.model[aria-busy="false"]')


def ranking(page: Any) -> list[str]:
    return page.locator(".ranking li").evaluate_all("items => items.map((item) => item.dataset.completion)")


def numbers(page: Any, selector: str) -> list[float]:
    texts = page.locator(selector).all_inner_texts()
    return [float(text.replace("\N{MINUS SIGN}", "-").split()[0]) for text in texts]


def expected(engine: RewardEngine, steering: Steering | None = None) -> list[str]:
    batch = engine.judge([Judgment(PROMPT, COMPLETIONS)]).steered(steering)
    rewards = batch.moments.mean[0].tolist()
    return ["ABC"[place] for place in sorted(range(3), key=lambda place: -rewards[place])]


def test_typed_texts_are_ranked_and_explained_and_stay_text(open_page, url, engine):
    page = open_page(url)
    write(page, PROMPT, COMPLETIONS)
    assert ranking(page) == expected(engine)
    explanation = explain(engine, Judgment(PROMPT, COMPLETIONS))
    rewards = sorted((report.reward.mean for report in explanation.completions), reverse=True)
    assert numbers(page, ".ranking strong") == pytest.approx(rewards, abs=0.006)
    rows = page.locator(".contributions tbody tr").count()
    assert rows == len(explanation.weights)
    assert page.locator(".diverging .for, .diverging .against").count() == rows * len(COMPLETIONS)
    assert page.evaluate("window.hurt") is None
    assert page.locator("main img, main script").count() == 0
    assert ATTACK in page.locator(".ranking").inner_text()


def test_a_slider_changes_the_order_as_emphasize_does(open_page, url, engine):
    page = open_page(url)
    write(page, PROMPT, COMPLETIONS)
    before = ranking(page)
    counts = dict.fromkeys(engine.objectives, 1000.0)
    name = next(name for name in counts if expected(engine, Steering({name: 1000.0})) != before)
    slider = page.get_by_label(f"Emphasize {name}", exact=True)
    requests = []
    page.on("request", lambda request: requests.append(request.url))
    slider.evaluate(
        "slider => { slider.value = slider.max; slider.dispatchEvent(new Event('input', {bubbles: true})); }"
    )
    assert requests == [], "the page computes this itself"
    count = float(page.get_by_label(f"Counts for {name}", exact=True).input_value())
    at_once = ranking(page)
    assert at_once == expected(engine, Steering({name: count}))
    assert at_once != before
    settled(page, lambda: None)
    explanation = explain(engine, Judgment(PROMPT, COMPLETIONS)).weights
    assert len(explanation) == page.locator(".objectives li").count()
    assert "disagree on these rewards" not in page.inner_text("main")


def test_what_would_put_the_other_ahead_does(open_page, url):
    page = open_page(url)
    write(page, PROMPT, COMPLETIONS)
    pair = ranking(page)[:2]
    page.locator(".turning button").first.click()
    soon(page.locator(".verdict .badge").first).to_have_text(pair[1], timeout=WAIT)
    order = ranking(page)
    assert order.index(pair[1]) < order.index(pair[0])


def test_an_objective_is_left_out_and_a_rater_chosen(open_page, url, engine):
    page = open_page(url)
    write(page, PROMPT, COMPLETIONS)
    settled(page, lambda: page.get_by_label("Use safety", exact=True).uncheck())
    soon(page.locator(".contributions tbody tr")).to_have_count(3, timeout=WAIT)
    assert ranking(page) == expected(engine, Steering({}, ("safety",)))
    settled(page, lambda: page.get_by_role("button", name="Undo all steering").click())
    settled(page, lambda: page.get_by_label("Judged as rater").select_option(label="ana"))
    soon(page.locator(".words").first).to_contain_text("ana weighs", timeout=WAIT)
    assert ranking(page) == expected(engine, Steering({}, (), "ana"))


def test_sentences_are_shaded_by_what_they_add(open_page, url, engine):
    page = open_page(url)
    write(page, PROMPT, COMPLETIONS)
    settled(page, lambda: page.get_by_role("button", name="Leave out each sentence").click())
    page.wait_for_selector(".sentence")
    first, *_ = explain_with_sentences(engine, Judgment(PROMPT, COMPLETIONS)).sentences or ()
    effects = page.locator(".shaded .text >> nth=0 >> .sentence").evaluate_all(
        "found => found.map((sentence) => Number(sentence.dataset.effect))"
    )
    assert effects == pytest.approx([sentence.effect for sentence in first.sentences], abs=1e-4)
    page.get_by_label("Shaded by").select_option("safety")
    by_safety = page.locator(".sentence").first.get_attribute("data-effect")
    assert float(by_safety) == pytest.approx(first.sentences[0].contributions["safety"], abs=1e-4)


def test_rows_are_browsed_and_a_link_holds_the_state(open_page, url):
    page = open_page(url)
    assert page.get_by_label("Prompt", exact=True).input_value() == ROWS[0].prompt
    page.get_by_label("Category").select_option("facts")
    assert page.locator(".browse li").count() == 1
    settled(page, lambda: page.locator(".browse button").click())
    assert page.get_by_label("Completion A", exact=True).input_value() == ROWS[1].completions[0]
    settled(page, lambda: page.get_by_label("Use safety", exact=True).uncheck())
    page.evaluate("navigator.clipboard.writeText = async (text) => { window.copied = text; }")
    page.get_by_role("button", name="Link").click()
    link = page.evaluate("window.copied")
    page.get_by_role("button", name="JSON").click()
    body = json.loads(page.evaluate("window.copied"))
    assert body == {"prompt": ROWS[1].prompt, "completions": ROWS[1].completions, "without": ["safety"]}
    page.get_by_role("button", name="Command").click()
    assert "--without 'safety'" in page.evaluate("window.copied")
    other = open_page(url)
    other.goto("about:blank")
    other.goto(link)
    other.wait_for_selector(".ranking li")
    assert other.get_by_label("Prompt", exact=True).input_value() == ROWS[1].prompt
    assert not other.get_by_label("Use safety", exact=True).is_checked()


@pytest.mark.parametrize("scheme", ["light", pytest.param("dark", marks=pytest.mark.slow)])
def test_axe_has_nothing_to_complain_of(open_page, url, scheme):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed (extra `dev`)")
    page = open_page(url, color_scheme=scheme)
    write(page, PROMPT, COMPLETIONS)
    settled(page, lambda: page.get_by_role("button", name="Leave out each sentence").click())
    page.wait_for_selector(".sentence")
    found = axe.Axe().run(page).response["violations"]
    assert [(violation["id"], [node["html"] for node in violation["nodes"]]) for violation in found] == []


def test_a_narrow_screen_needs_no_sideways_scrolling(open_page, url):
    page = open_page(url, viewport={"width": 390, "height": 800})
    write(page, PROMPT + "x" * 300, COMPLETIONS)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_two_models_stand_side_by_side_and_a_conversation_keeps_its_turns(open_page, serve, make_tiny_model, engine):
    second = RewardEngine.from_pretrained(make_tiny_model(head="gated"), options=engine.options)
    turns = [{"role": role, "content": text} for role, text in (("user", "how"), ("assistant", "so"), ("user", "why"))]
    rows = [Judgment(turns, [[{"role": "assistant", "content": text}] for text in ("good", "no")], line=1)]
    explored = Explored(Browsed("rows.jsonl", rows, summaries_of(engine, rows, second)), Service(second))
    with serve(make_tiny_model(), explored=explored) as server:
        page = open_page(server.url)
        soon(page.locator(".ranking")).to_have_count(2, timeout=WAIT)
        assert page.locator(".turns p").all_text_contents() == ["user: how", "assistant: so"]
        assert page.get_by_label("Prompt", exact=True).input_value() == "why"
        assert page.locator('.model >> nth=0 >> input[type="range"]').count() == 4
        assert page.locator('.model >> nth=1 >> input[type="range"]').count() == 0
        rewards = [float(engine.judge(rows).moments.mean[0].max()), float(second.judge(rows).moments.mean[0].max())]
        firsts = [numbers(page, f".model >> nth={place} >> .ranking strong")[0] for place in (0, 1)]
        assert firsts == pytest.approx(rewards, abs=0.006)


def test_a_server_that_stopped_is_said_where_it_matters(browser, serve, tiny_model_dir):
    page = browser.new_page()
    with serve(tiny_model_dir) as server:
        page.goto(f"{server.url}/explore")
        page.wait_for_selector(".ranking li", timeout=WAIT)
    page.get_by_label("Prompt", exact=True).fill("how long is the water")
    page.keyboard.press("Control+Enter")
    page.wait_for_selector(".problem:not([hidden])", timeout=WAIT)
    assert "does not answer" in page.locator(".problem").first.inner_text()
    page.close()


def test_a_token_is_asked_for_and_sent(browser, serve, tiny_model_dir):
    page = browser.new_page()
    with serve(tiny_model_dir, token="sesame") as server:
        page.goto(f"{server.url}/explore")
        page.get_by_label("This server wants its token").fill("sesame")
        page.get_by_role("button", name="Go on").click()
        page.wait_for_selector(".ranking li", timeout=WAIT)
    page.close()
