"""Likelihoods of labels, equations (4) to (6) and (15), one file a kind of label.

`vrm.labels` has the table of all kinds; `LIKELIHOODS` are those of the equations, by the names that the table gives
them.
"""

from vrm.core.likelihoods.base import Likelihood
from vrm.core.likelihoods.comparison import Comparison
from vrm.core.likelihoods.ranking import Ranking
from vrm.core.likelihoods.ratings import Ratings
from vrm.core.likelihoods.repeated import RepeatedJudgments
from vrm.core.likelihoods.votes import Votes

LIKELIHOODS: dict[str, Likelihood] = {
    "comparison": Comparison(),
    "judgments": RepeatedJudgments(),
    "ranking": Ranking(),
    "ratings": Ratings(),
    "votes": Votes(),
}
