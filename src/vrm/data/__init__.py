"""Preference data: the row schema, readers, checks, mixtures and splits.

Only the standard library is loaded here; readers of Parquet, `datasets` directories and the Hub import what they need
when they are used.
"""

from vrm.data.load import LoadResult, Source, load_judgments
from vrm.data.parse import parse_row, parse_scoring_row
from vrm.data.problems import InvalidRowError, Problem
from vrm.data.readers import read_rows
from vrm.data.schema import Judgment, Message, Text
from vrm.data.splits import mix, prompt_key, shared_prompts, split_by_prompt
from vrm.data.statistics import RatingStatistics, objective_names, rating_statistics
from vrm.data.validation import InvalidDataError, ValidationReport

__all__ = [
    "InvalidDataError",
    "InvalidRowError",
    "Judgment",
    "LoadResult",
    "Message",
    "Problem",
    "RatingStatistics",
    "Source",
    "Text",
    "ValidationReport",
    "load_judgments",
    "mix",
    "objective_names",
    "parse_row",
    "parse_scoring_row",
    "prompt_key",
    "rating_statistics",
    "read_rows",
    "shared_prompts",
    "split_by_prompt",
]
