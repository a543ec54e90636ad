"""Pictures of the explorer, and how long a slider takes to act.

    python -m studies.explorer pictures      docs/images/explorer-*.png, in the folder of `vrm quickstart`
    python -m studies.explorer steps         milliseconds from a slider's move to the new page, 40 objectives

Both open the page in the distribution's Chromium, through Playwright.
"""

from __future__ import annotations

import argparse
import io
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import sync_playwright

IMAGES = Path(__file__).parents[1] / "docs" / "images"
LINE = 17
SIZE = {"width": 1440, "height": 1010}
COLOURS = 255

OBJECTIVES, MOVES = 40, 15
STEP = """() => {
    const slider = document.querySelector('.objectives input[type=range]');
    return Array.from({ length: MOVES }, (_, move) => {
        slider.value = 5 * (move + 1);
        const start = performance.now();
        slider.dispatchEvent(new Event('input', { bubbles: true }));
        document.body.offsetHeight;  // lays the page out
        return performance.now() - start;
    });
}""".replace("MOVES", str(MOVES))


@contextmanager
def explorer(*arguments: str) -> Iterator[str]:
    """`vrm explore` with these arguments; gives its address."""
    command = [sys.executable, "-m", "vrm.cli.main", "explore", *arguments, "--port", "0", "--no-browser"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server:
        try:
            assert server.stderr is not None
            for words in server.stderr:
                if found := re.search(r"on (http://\S+);", words):
                    yield found[1]
                    return
            raise SystemExit("vrm explore did not start")
        finally:
            server.terminate()


@contextmanager
def chromium() -> Iterator[Any]:
    """A browser."""
    program = shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


def opened(browser: Any, url: str, **options: Any) -> Any:
    """The page, once it shows a ranking."""
    page = browser.new_page(viewport=SIZE, **options)
    page.goto(url)
    page.wait_for_selector(".ranking li")
    return page


def answered(page: Any, act: Any) -> None:
    """Do something, and wait for the server's answer to it."""
    with page.expect_response("**/v1/explain"):
        act()
    page.wait_for_selector('.model[aria-busy="false"]')


def pictures(run: Path) -> None:
    """The page in light and dark, after the change that puts the other completion ahead, in few colours."""
    arguments = [str(run / "vrm/model"), str(run / "corpus/test.jsonl"), "--line", str(LINE), "--limit", "60"]
    with explorer(*arguments) as url, chromium() as browser:
        for scheme in ("light", "dark"):
            page = opened(browser, url, color_scheme=scheme)
            page.get_by_role("button", name="Leave out each sentence").click()
            page.wait_for_selector(".sentence")
            answered(page, lambda page=page: page.locator(".turning button").first.click())
            page.evaluate("document.activeElement.blur()")
            page.wait_for_timeout(300)
            picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
            target = IMAGES / f"explorer-{scheme}.png"
            picture.quantize(COLOURS, dither=Image.Dither.NONE).save(target, optimize=True)
            print(f"{target}: {target.stat().st_size / 1000:.0f} kB")


def make_model(directory: str) -> None:
    """A random model of many objectives on the embedded encoder."""
    from vrm.data.chat import describe_prompts, ensure_chat_template
    from vrm.model import VRMForSequenceClassification, save_model
    from vrm.model.checkpoint import load_tokenizer
    from vrm.model.embedded import resolve_backbone

    tokenizer = load_tokenizer(resolve_backbone("embedded"))
    ensure_chat_template(tokenizer, "encoder")
    names = [f"objective {number}" for number in range(OBJECTIVES)]
    fields: dict[str, Any] = {"objectives": names, "objectives_with_ratings": names, "learned_disagreement": True}
    model = VRMForSequenceClassification.from_backbone(
        "embedded", head="vrm", num_free_objectives=0, num_features=8, **fields, **describe_prompts(tokenizer)
    )
    save_model(model.eval(), tokenizer, directory)


def steps() -> None:
    """From a slider's move to the page laid out anew: computation and drawing, no network."""
    print("| completions | least | median | worst |\n|---:|---:|---:|---:|")
    with tempfile.TemporaryDirectory() as directory:
        make_model(directory)
        with explorer(directory) as url, chromium() as browser:
            page = opened(browser, url)
            for count in (2, 4, 8, 16):
                while (present := page.locator(".completions li").count()) < count:
                    page.get_by_role("button", name="Add a completion").click()
                    text = f"Answer {present} is good. " * (1 + present % 4)
                    page.locator(".completions textarea").nth(present).fill(text)
                page.get_by_label("Prompt", exact=True).focus()
                answered(page, lambda: page.keyboard.press("Control+Enter"))
                page.wait_for_timeout(1000)
                times = sorted(page.evaluate(STEP))
                print(f"| {count} | {times[0]:.0f} | {statistics.median(times):.0f} | {times[-1]:.0f} |", flush=True)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("pictures", "steps"))
    parser.add_argument(
        "--run", type=Path, default=Path("runs/quickstart"), help="the quickstart's folder, of pictures"
    )
    arguments = parser.parse_args()
    if arguments.what == "pictures":
        pictures(arguments.run)
    else:
        steps()


if __name__ == "__main__":
    main()
