"""What a run of a million rows does before its first step, once they are in the cache: time and memory.

    python -m studies.scale.startup --rows 1000000 --directory /tmp/startup

Reading and tokenizing so many rows takes many minutes of processor time (`studies.scale.rows` measures both). Here the
tables are written directly: a cache of 2,000 rows is made by the package, and its tables are repeated, with a
prompt of its own for every row. Then `vrm train` runs on that cache, twice: the second run finds what the first one has
remembered of the rows.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

from studies.scale import rows as rows_study
from studies.scale.curves import table
from studies.scale.measured import keep, measured
from studies.scale.repeated import enlarge_cache

SEED_ROWS = 2000


def main() -> None:
    """Make the cache, run twice, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--directory", type=Path, required=True)
    options = parser.parse_args()
    place: Path = options.directory
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    source = place / "rows.jsonl"
    rows_study.write_rows(source, SEED_ROWS)
    arguments = rows_study.command("train", SEED_ROWS, source, place, str(rows_study.word_tokenizer(place)))
    keep(measured("train", SEED_ROWS, arguments, place, 900.0), None)
    enlarge_cache(place / "caches" / "rows", options.rows, SEED_ROWS)
    config = json.loads(Path(arguments[1]).read_text())
    config["data"]["held_out"] = 500 / options.rows
    config["train"]["epochs"] = rows_study.STEPS * rows_study.BATCH / options.rows
    Path(arguments[1]).write_text(json.dumps(config))
    print(table([measured(task, options.rows, arguments, place, 900.0) for task in ("first", "again")]))


if __name__ == "__main__":
    main()
