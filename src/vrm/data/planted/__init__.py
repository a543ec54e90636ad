"""The quickstart corpus: preferences whose true objectives, weights and shortcut are known, made by a program.

`planted_corpus` draws it and `write_planted` writes it as JSONL.
"""

from vrm.data.planted.corpus import PlantedCorpus, PlantedSplit, planted_corpus, true_score, write_planted

__all__ = [
    "PlantedCorpus",
    "PlantedSplit",
    "planted_corpus",
    "true_score",
    "write_planted",
]
