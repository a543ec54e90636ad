"""The quickstart corpus: preferences whose true objectives, weights and shortcut are known, made by a program.

`planted_corpus` draws it, `write_planted` writes it as JSONL, and `python -m vrm.data.planted` prints its counts.
"""

from vrm.data.planted.corpus import PlantedCorpus, planted_corpus, write_planted
from vrm.data.planted.generator import PlantedSplit, true_score
from vrm.data.planted.summary import SplitSummary, summarize

__all__ = [
    "PlantedCorpus",
    "PlantedSplit",
    "SplitSummary",
    "planted_corpus",
    "summarize",
    "true_score",
    "write_planted",
]
