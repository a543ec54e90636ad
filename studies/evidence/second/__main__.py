"""Part two of docs/evidence.md, from one command; every finished piece is kept, so it can be broken off and repeated.

    python -m studies.evidence.second DATA                                  # everything, some hours on 2 cores
    python -m studies.evidence.second DATA --questions raters loop --seeds 3
    python -m studies.evidence.second DATA --quick                          # toy sizes, to see that it runs
    python -m studies.evidence.second --tables                              # from the documents alone, nothing is run

DATA holds `preferences/`, `raters/` and `benchmarks/`. Documents go to `studies/evidence/results/second/NAME.json`, or
with `--quick` below `--work`; plots to `docs/images/evidence-NAME.png`. The Laplace head needs
`pip install --no-deps -r studies/evidence/requirements.txt`.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

from studies.evidence.second.questions import questions
from studies.evidence.second.study import Question, Study
from studies.speed.measure import environment
from transformers.utils import logging

ROOT = Path(__file__).parents[3]
RESULTS = Path(__file__).parents[1] / "results" / "second"


def answer(question: Question, study: Study, target: Path) -> dict[str, Any]:
    """Run a question and write its document."""
    started = time.process_time()
    figures = question.run(study)
    document = {
        "title": question.title,
        "quick": study.quick,
        "environment": environment(),
        "processor_seconds_of_this_call": round(time.process_time() - started, 1),
        "figures": figures,
    }
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    return document


def arguments(names: list[str]) -> argparse.Namespace:
    """Options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="?")
    parser.add_argument("--questions", nargs="+", choices=names, default=names)
    parser.add_argument("--seeds", type=int, help="number of seeds; by default each question's own")
    parser.add_argument("--quick", action="store_true", help="toy sizes")
    parser.add_argument(
        "--tables", action="store_true", help="print tables and draw plots from the documents that are there"
    )
    parser.add_argument("--cache", type=Path, default=Path("runs/features"))
    parser.add_argument("--work", type=Path, default=Path("runs/evidence-second"))
    options = parser.parse_args()
    if options.data is None and not options.tables:
        parser.error("DATA is needed, unless --tables reads documents that are there")
    return options


def main() -> None:
    """Run questions, print their tables."""
    known = questions()
    options = arguments(list(known))
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    for name in options.questions:
        question = known[name]
        work = options.work / ("quick" if options.quick else "") / name
        target = (work if options.quick else RESULTS) / f"{name}.json"
        if options.tables:
            if not target.exists():
                print(f"## {question.title}\n\nnot run yet\n")
                continue
            document = json.loads(target.read_text(encoding="utf-8"))
        else:
            document = answer(question, Study(options.data, options.cache, work, options.seeds, options.quick), target)
        print(f"## {question.title}\n\n{question.tables(document['figures'])}\n")
        if question.plot is not None:
            folder = work if options.quick else ROOT / "docs" / "images"
            print(f"drew {question.plot(document['figures'], folder)}\n")


if __name__ == "__main__":
    main()
