"""What a run of a million rows does before its first step, once they are in the cache: time and memory.

    python studies/data_startup.py --rows 1000000 --directory /tmp/startup

Reading and tokenizing so many rows takes many minutes of processor time (`data_scale.py` measures both on fewer).
Here the tables are written directly: a cache of 2,000 rows is made by the package, and its tables are repeated, with a
prompt of its own for every row. Then `vrm train` runs on that cache, twice: the second run finds what the first one has
remembered of the rows.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import sys
from pathlib import Path

import data_scale
import pyarrow as pa

SEED_ROWS = 2000


def enlarge(table: Path, rows: int) -> None:
    """Put an Arrow stream in the place of another, which repeats it until it has so many rows."""
    with pa.OSFile(str(table)) as file:
        small = pa.ipc.open_stream(file).read_all().combine_chunks()
    new = table.with_suffix(".new")
    with pa.OSFile(str(new), "wb") as file, pa.ipc.new_stream(file, small.schema) as stream:
        for first in range(0, rows, SEED_ROWS):
            copy = small
            if "prompt_key" in copy.column_names:
                place = copy.column_names.index("prompt_key")
                keys = [hashlib.md5(str(first + row).encode()).hexdigest() for row in range(len(copy))]
                copy = copy.set_column(place, copy.schema.field(place), pa.array(keys))
            stream.write_table(copy)
    new.replace(table)


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
    data_scale.write_rows(source, SEED_ROWS)
    arguments = data_scale.command("train", SEED_ROWS, source, place, str(data_scale.word_tokenizer(place)))
    print(data_scale.measured("train", SEED_ROWS, arguments, place, 900.0), file=sys.stderr, flush=True)
    for table in (place / "caches" / "rows").rglob("*.arrow"):
        enlarge(table, options.rows)
    for remembered in (place / "caches" / "rows").rglob("remembered"):
        shutil.rmtree(remembered)
    config = json.loads(Path(arguments[1]).read_text())
    config["data"]["held_out"] = 500 / options.rows
    config["train"]["epochs"] = data_scale.STEPS * data_scale.BATCH / options.rows
    Path(arguments[1]).write_text(json.dumps(config))
    runs = [data_scale.measured(task, options.rows, arguments, place, 900.0) for task in ("first", "again")]
    print(data_scale.table(runs))


if __name__ == "__main__":
    main()
