"""Every choice by name that users make, once: configuration keys, command-line options, arguments and saved fields.

The members are strings, so that files and messages hold their values: `Tuning.LORA == "lora"`. This module imports
nothing of the package and nothing slow, and an exported model can carry it.
"""

from __future__ import annotations

from enum import StrEnum

EMBEDDED, EMBEDDED_DECODER = "embedded", "embedded-decoder"
"""The backbones that come as packages, an encoder and a decoder, where a directory or Hub name is asked for."""

EMBEDDED_BACKBONES = {
    EMBEDDED: "sentence-transformers/all-MiniLM-L6-v2",
    EMBEDDED_DECODER: "HuggingFaceTB/SmolLM2-135M-Instruct",
}
"""What the Hub calls them: {name: owner/name}. The decoder's weights were rounded to 4 bits on their way."""

NO_CACHE = "none"
"""In the place of a cache's directory: features of the backbone are not kept for other runs and commands."""

HEADS = {
    "vrm": "VRMHead",
    "gated": "GatedHead",
    "bottleneck": "BottleneckHead",
    "mlp": "MLPHead",
    "bt": "BTHead",
    "bayes": "BayesHead",
}
"""Heads: {name: class in the module `vrm.model.heads.NAME`}. A new head is a file there and a line here."""


class Tuning(StrEnum):
    """What a training run changes of the backbone: nothing, everything, or adapters beside it."""

    FROZEN = "frozen"
    FULL = "full"
    LORA = "lora"


class Parallel(StrEnum):
    """What each of several processes holds of a model in training: a copy of it, or a part."""

    DDP = "ddp"
    FSDP = "fsdp"


class StudentTuning(StrEnum):
    """What of a distilled student is fitted: its score layer by ridge regression, or then all weights too."""

    HEAD = "head"
    FULL = "full"


class Storage(StrEnum):
    """Where the rows of a run are kept: in memory, in tables on the disk, or by the size of their files."""

    AUTO = "auto"
    MEMORY = "memory"
    DISK = "disk"


class LossName(StrEnum):
    """The training loss: (7), (7'), or the two stages of (19)."""

    VARIATIONAL = "variational"
    MARGINAL = "marginal"
    STAGED = "staged"


class StagePart(StrEnum):
    """What the second stage of (19) may add to the means of the first."""

    TEMPERATURE = "temperature"
    TIES = "tie_threshold"
    VARIANCE = "feature_variance"
    VARIANCE_BY_TEXT = "feature_variance_by_text"
    CONCENTRATION = "concentration"
    CONCENTRATION_BY_PROMPT = "concentration_by_prompt"


class BackboneKind(StrEnum):
    """How a backbone reads: in one causal pass, or prompt and pair apart."""

    DECODER = "decoder"
    ENCODER = "encoder"


class Pooling(StrEnum):
    """How the hidden states of a completion become one vector: `cls` is an encoder's alone, `last` a decoder's."""

    MEAN = "mean"
    MAX = "max"
    CLS = "cls"
    LAST = "last"


class RewardScale(StrEnum):
    """The unit of rewards: as the head gives them, or by their mean and spread on the held-out rows."""

    RAW = "raw"
    STANDARDIZED = "standardized"


class Risk(StrEnum):
    """How uncertainty lowers a reward: by kappa standard deviations, or as the certain reward worth as much."""

    PESSIMISTIC = "pessimistic"
    EXPONENTIAL = "exponential"


class Precision(StrEnum):
    """Of the backbone's matrix products; `auto` is bfloat16 where the device has it."""

    AUTO = "auto"
    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"


class StoredDtype(StrEnum):
    """Of a backbone's weights in an exported directory."""

    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"
    FLOAT16 = "float16"


class OnOverlong(StrEnum):
    """What to do with a row over the limit of tokens.

    `error` stops at the first. `drop` leaves the judgment out. `truncate_prompt` cuts the prompt from its start, and
    drops judgments whose completions do not fit even so. `truncate` then also cuts completions at their end, and drops
    comparisons whose sides became identical. Everything is counted.
    """

    ERROR = "error"
    DROP = "drop"
    TRUNCATE_PROMPT = "truncate_prompt"
    TRUNCATE = "truncate"


class OnOverlongServed(StrEnum):
    """The same for a server, which answers every text and therefore drops none."""

    ERROR = OnOverlong.ERROR.value
    TRUNCATE_PROMPT = OnOverlong.TRUNCATE_PROMPT.value
    TRUNCATE = OnOverlong.TRUNCATE.value


class OnBadRows(StrEnum):
    """What to do with rows that cannot be used: stop, or skip and count them."""

    ERROR = "error"
    SKIP = "skip"


class SplitBy(StrEnum):
    """What the parts of a split must not share."""

    PROMPT = "prompt"
    CATEGORY = "category"


class Schedule(StrEnum):
    """The learning rate after warm-up, by the names of `transformers`."""

    LINEAR = "linear"
    COSINE = "cosine"
    CONSTANT = "constant"
    CONSTANT_WITH_WARMUP = "constant_with_warmup"


class Binning(StrEnum):
    """How probabilities are put into bins: equally many in each, or bins of equal width."""

    EQUAL_MASS = "equal_mass"
    EQUAL_WIDTH = "equal_width"


class Role(StrEnum):
    """Who a chat message is from."""

    SYSTEM = "system"
    DEVELOPER = "developer"
    USER = "user"
    ASSISTANT = "assistant"
    TOOL = "tool"


class Identification(StrEnum):
    """What can be read into objective weights: ratings fix them, votes do, neither does, or there is one."""

    IDENTIFIED = "identified"
    VOTES = "votes"
    AMBIGUOUS = "ambiguous"
    SINGLE = "single"


class LogLevel(StrEnum):
    """How much a server writes to its log."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"
