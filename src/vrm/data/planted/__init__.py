"""The quickstart corpus: preferences whose true objectives, weights and shortcut are known, made by a program.

`planted_corpus` draws it and `write_planted` writes it as JSONL.
"""

from vrm.data.planted.corpus import (
    PlantedCorpus,
    PlantedSplit,
    planted_corpus,
    true_score,
    true_utilities,
    write_planted,
)
from vrm.data.planted.raters import PlantedRater, population_vote

__all__ = [
    "PlantedCorpus",
    "PlantedRater",
    "PlantedSplit",
    "planted_corpus",
    "population_vote",
    "true_score",
    "true_utilities",
    "write_planted",
]
