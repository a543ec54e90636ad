"""Drills: what the package promises, tried against what goes wrong. docs/reliability.md holds the table.

python -m studies.drills            # the names
python -m studies.drills NAME       # one drill; --quick for a toy size
python -m studies.drills --tables   # the page's tables from the documents that are there
"""
