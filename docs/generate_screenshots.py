"""Draw the pictures of the explorer: `python docs/generate_screenshots.py`, in the folder of `vrm quickstart`.

It opens the page in the distribution's Chromium, makes the change that puts the other completion ahead, and writes
`docs/images/explorer-light.png` and `-dark.png`.
"""

from __future__ import annotations

import io
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import sync_playwright

IMAGES = Path(__file__).with_name("images")
RUN = Path("runs/quickstart")
LINE = 17
WIDTH, HEIGHT = 1440, 1010
COLOURS = 255


@contextmanager
def explorer(run: Path) -> Iterator[str]:
    """`vrm explore` on the quickstart's model and test rows; gives its address."""
    command = [sys.executable, "-m", "vrm.cli.main", "explore", str(run / "vrm/model"), str(run / "corpus/test.jsonl")]
    command += ["--line", str(LINE), "--limit", "60", "--port", "0", "--no-browser"]
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


def draw(browser: Any, url: str, scheme: str) -> None:
    """One picture, in few colours: pages are flat."""
    page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT}, color_scheme=scheme)
    page.goto(url)
    page.wait_for_selector(".ranking li")
    page.get_by_role("button", name="Leave out each sentence").click()
    page.wait_for_selector(".sentence")
    with page.expect_response("**/v1/explain"):
        page.locator(".turning button").first.click()
    page.wait_for_selector('.model[aria-busy="false"]')
    page.evaluate("document.activeElement.blur()")
    page.wait_for_timeout(300)
    picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    target = IMAGES / f"explorer-{scheme}.png"
    picture.quantize(COLOURS, dither=Image.Dither.NONE).save(target, optimize=True)
    print(f"{target}: {target.stat().st_size / 1000:.0f} kB")


def main() -> None:
    """Both pictures."""
    program = shutil.which("chromium") or shutil.which("google-chrome")
    run = Path(sys.argv[1]) if len(sys.argv) > 1 else RUN
    with explorer(run) as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        for scheme in ("light", "dark"):
            draw(browser, url, scheme)
        browser.close()


if __name__ == "__main__":
    main()
