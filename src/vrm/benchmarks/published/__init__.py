"""Published benchmarks, one module each, found by their files: `rm_bench.py` is the benchmark `rm-bench`.

A new benchmark is one file here with a `FileBenchmark` called `BENCHMARK`. Its name is the file's, with `-` for `_`.
The tests want a few of its rows in `ROWS` of `tests/unit/benchmarks/conftest.py`.
"""
