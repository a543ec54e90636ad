"""Published benchmarks, one module each, found by their files: `rm_bench.py` is the benchmark `rm-bench`.

A new benchmark is one file here with a `FileBenchmark` called `BENCHMARK`. Its name is the file's, with `-` for `_`.
The tests want a few of its rows in `ROWS` of `tests/unit/benchmarks/conftest.py`.

`pair_outcomes(HALF, ["level"])` adds a table by the label `level` of the examples. Its rows are sorted, numbers as
numbers; `orders={"level": ("easy", "hard")}` puts them in the published order. An example whose label is None or empty
is counted among what is unusual (`BenchmarkRow.example`), since no row of that table has it.
"""
