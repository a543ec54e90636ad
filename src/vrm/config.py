"""Typed configuration of a training run: one YAML file, every key checked, unknown keys refused."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from vrm.choices import (
    EMBEDDED,
    EMBEDDED_BACKBONES,
    HEADS,
    LossName,
    OnBadRows,
    OnOverlong,
    Parallel,
    Pooling,
    Precision,
    Schedule,
    SplitBy,
    Storage,
    Tuning,
)
from vrm.errors import ConfigError
from vrm.measures import StyleMeasure
from vrm.renamed import RENAMED, renamed_keys, warn_of_old_key
from vrm.trackers import check_trackers
from vrm.user_files import at_home, beside, is_stream, load_yaml, read_text


def _known_head(name: str) -> str:
    if name not in HEADS:
        raise ConfigError(f"must be one of {', '.join(map(repr, HEADS))}")
    return name


def _expanded(path: str | None) -> str | None:
    return None if path is None else at_home(path)


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", validate_assignment=True)


class SourceConfig(_Section):
    """One source of rows; a plain string in a list of sources is its `path`."""

    path: str = Field(description="File, directory written by `datasets`, or Hub name.")
    _home = field_validator("path")(_expanded)
    weight: float = Field(1.0, gt=0, description="How many times its rows are seen in one epoch.")
    recipe: str | None = Field(None, description="Published-dataset recipe that maps its rows to the schema.")
    mapping: dict[str, str] | None = Field(None, description="Column names, as {ours: theirs}.")
    split: str | None = Field(None, description="Split of a `datasets` directory or Hub data set.")
    limit: int | None = Field(None, ge=1, description="Read at most this many rows.")
    name: str | None = Field(None, description="Value of `source` for rows that have none; the file's stem by default.")


class DataConfig(_Section):
    """What is trained on."""

    train: list[SourceConfig] = Field(min_length=1, description="Sources of training rows.")
    eval: list[SourceConfig] = Field(default=[], description="Sources for choosing the best checkpoint.")
    held_out: float = Field(
        0.1, ge=0, lt=1, description="Share of training prompts held out for that choice when `eval` is empty."
    )
    storage: Storage = Field(
        Storage.AUTO,
        description="Where rows and their tokens are kept; `auto` takes the disk for files from 64 MB on "
        "([scale.md](scale.md)).",
    )
    held_out_by: SplitBy = Field(SplitBy.PROMPT, description="What is never on both sides.")
    on_bad_rows: OnBadRows = Field(OnBadRows.ERROR, description="Stop at bad rows, or skip and count them.")
    on_overlong: OnOverlong = Field(
        OnOverlong.TRUNCATE_PROMPT, description="What to do with rows over `model.max_input_tokens`."
    )
    objectives: list[str] | None = Field(
        None, description="Objectives with ratings or votes; all that the training data names by default."
    )
    votes_total: float | None = Field(
        1.0, gt=0, description="Normalize the votes of a row to this total; null keeps counts."
    )
    ratings_as_votes: bool = Field(
        False, description="Also use ratings, normalized over the objectives, as votes (the paper's reading)."
    )

    @model_validator(mode="before")
    @classmethod
    def _paths(cls, values: Any) -> Any:
        if isinstance(values, dict):
            for key in ("train", "eval"):
                entries = values.get(key)
                if isinstance(entries, (str, dict)):
                    entries = [entries]
                if isinstance(entries, list):
                    values[key] = [{"path": entry} if isinstance(entry, str) else entry for entry in entries]
        return values


class LoraSettings(_Section):
    """Low-rank adapters through PEFT; the heads are always trained and saved."""

    r: int = Field(16, ge=1, description="Rank.")
    alpha: int = Field(32, ge=1, description="Scale.")
    dropout: float = Field(0.0, ge=0, lt=1, description="Dropout before the adapter.")
    target_modules: list[str] | str | None = Field(
        None, description="Module names, or `all-linear`; unset, as [backbones.md](backbones.md) says."
    )


class ModelConfig(_Section):
    """Backbone and head."""

    _home = field_validator("backbone", "from_scratch", "tokenizer", "chat_template")(_expanded)
    backbone: str = Field(EMBEDDED, description="Directory, Hub name, `embedded` or `embedded-decoder` (SmolLM2).")
    from_scratch: str | None = Field(
        None, description="JSON file of a backbone configuration to start from random weights instead of `backbone`."
    )
    tokenizer: str | None = Field(None, description="Directory or name, where it is not the backbone's.")
    chat_template: str | None = Field(None, description="File with a Jinja chat template to use instead.")
    tuning: Tuning = Field(
        Tuning.FROZEN, description="Train the head on cached features, everything, or adapters and head."
    )
    lora: LoraSettings = Field(default_factory=LoraSettings, description="Used by `tuning: lora`.")
    head: Annotated[str, AfterValidator(_known_head)] = Field("vrm", description=f"One of {', '.join(HEADS)}.")
    num_free_objectives: int = Field(
        16,
        ge=0,
        description="Objectives without a name, beside the named ones; 0 is taken as 16 where the data names none.",
    )
    num_features: int = Field(8, ge=1, description="d, semantic features.")
    hidden_size_head: int = Field(128, ge=1, description="Hidden width of the head's networks.")
    head_dropout: float = Field(0.3, ge=0, lt=1, description="Dropout in the head's networks.")
    prior_concentration: float = Field(1.0, gt=0, description="alpha0, the same for every objective.")
    feature_layers: list[int] = Field(default=[-1], min_length=1, description="Hidden states that feed the head.")
    poolings: list[Literal[Pooling.MEAN, Pooling.MAX, Pooling.CLS]] = Field(
        default=[Pooling.MEAN],
        min_length=1,
        description="Encoders: how completion tokens are pooled.",
    )
    decoder_poolings: list[Literal[Pooling.LAST, Pooling.MEAN, Pooling.MAX]] = Field(
        default=[Pooling.LAST],
        min_length=1,
        description="Decoders: the last token of a completion, or how its tokens are pooled.",
    )
    max_input_tokens: int = Field(512, ge=8, description="Limit of prompt and completion together, in tokens.")
    gradient_checkpointing: bool = Field(False, description="Recompute activations; less memory, more time.")
    compile: bool | Literal["auto"] = Field(
        "auto",
        description="Compile the layers of a backbone that is tuned; needs a C++ compiler (CPU) or Triton (GPU). "
        "`auto`: on a CPU with a compiler, where the run is long enough for it to pay.",
    )

    @model_validator(mode="after")
    def _trained(self) -> ModelConfig:
        for name in ("gradient_checkpointing", "compile"):
            if self.tuning == Tuning.FROZEN and getattr(self, name) is True:
                raise ConfigError(f"model.{name}: a frozen backbone is not trained; set model.tuning to full or lora")
        return self


class LossConfig(_Section):
    """Equation (7), (7') or (19), and the weights of their terms."""

    name: LossName = Field(LossName.VARIATIONAL, description="(7), (7') or the two stages of (19).")
    num_samples: int | None = Field(
        None, ge=1, description="Draws of the objective weights for each judgment; null: 4 for (7), 8 for (7')."
    )
    num_nodes: int = Field(16, ge=2, description="Gauss-Hermite nodes of (8).")
    ratings: float = Field(1.0, ge=0, description="lambda_r.")
    votes: float = Field(1.0, ge=0, description="lambda_v.")
    beta_weights: float = Field(
        0.001, ge=0, description="Of the KL of the weights to their prior: beta_w of (7), eta_w of (7')."
    )
    beta_features: float = Field(
        0.001, ge=0, description="Of the KL of the features to theirs: beta_z of (7), eta_z of (7')."
    )
    kl_warmup: float = Field(0.1, ge=0, le=1, description="Share of the steps over which both of these rise from 0.")


class TrainConfig(_Section):
    """Optimization."""

    epochs: float = Field(10.0, gt=0, description="Passes over the training rows.")
    batch_size: int | None = Field(
        None,
        ge=1,
        description="Judgments a step, over all processes and accumulation steps; null: a tenth of the training rows, "
        "as a power of two from 16 to 256.",
    )
    gradient_accumulation: int = Field(1, ge=1, description="Forward passes a step.")
    parallel: Parallel = Field(
        Parallel.DDP,
        description="What each of several processes holds: a copy of the model, or (`fsdp`) a part of a backbone that "
        "is tuned, of its gradients and of its optimizer state.",
    )
    token_budget: int = Field(
        8192,
        ge=16,
        description="Token positions of one pass of a backbone that is tuned; a step takes as many passes as its "
        "judgments need.",
    )
    learning_rate: float = Field(1e-3, gt=0, description="Of the head.")
    backbone_learning_rate: float | None = Field(
        None, gt=0, description="Of the backbone or its adapters; null: 2e-5, and 2e-4 for adapters."
    )
    weight_decay: float = Field(0.1, ge=0, description="On weight matrices.")
    lr_scheduler: Schedule = Field(Schedule.COSINE, description="Schedule after warm-up.")
    warmup: float = Field(0.05, ge=0, lt=1, description="Share of the steps over which the learning rate rises.")
    max_grad_norm: float = Field(1.0, gt=0, description="Gradient clipping.")
    evals: int = Field(20, ge=1, description="Evaluations over the run; the best checkpoint is kept.")
    early_stopping: int | None = Field(5, ge=1, description="Stop after this many evaluations without a better NLL.")
    logging_steps: int = Field(10, ge=1, description="Steps between logged training terms.")
    precision: Precision = Field(Precision.AUTO, description="Of the backbone; heads and losses are float32 always.")
    report_to: Annotated[list[str], AfterValidator(check_trackers)] = Field(
        default=[], description="Trackers of `transformers`: tensorboard, wandb, mlflow, ..."
    )


class NuisanceConfig(_Section):
    """Nuisance offset (14): what sways raters but should not be rewarded; off without measures."""

    measures: list[StyleMeasure] = Field(default=[], description="Measures of a completion that sway raters.")
    factor: float | None = Field(
        None, ge=0, le=1, description="Share of the offset used; null: chosen on the evaluation rows."
    )
    folds: int = Field(5, ge=2, description="Folds of the reward that the offset is fitted beside, by prompt.")
    ridge: float = Field(1.0, gt=0, description="Penalty on half the variance of each measure's offset.")
    num_knots: int = Field(5, ge=3, description="Knots of each measure's spline.")

    @model_validator(mode="after")
    def _distinct(self) -> NuisanceConfig:
        if len(set(self.measures)) < len(self.measures):
            raise ConfigError(f"measures name one twice: {', '.join(self.measures)}")
        return self


class FeaturesConfig(_Section):
    """Frozen features."""

    _home = field_validator("cache")(_expanded)
    cache: str | None = Field(None, description="Directory; null: one for all runs; `none`: `<output_dir>/features`.")
    token_budget: int = Field(8192, ge=16, description="Token positions of one batch of the backbone.")


class RunConfig(_Section):
    """A training run."""

    _home = field_validator("output_dir")(_expanded)
    output_dir: str = Field(description="Where checkpoints, the model and its metrics go.")
    seed: int = Field(0, ge=0, description="Of initial weights, order of rows, and samples.")
    data: DataConfig
    model: ModelConfig = Field(default_factory=ModelConfig)
    loss: LossConfig = Field(default_factory=LossConfig)
    train: TrainConfig = Field(default_factory=TrainConfig)
    nuisance: NuisanceConfig = Field(default_factory=NuisanceConfig)
    features: FeaturesConfig = Field(default_factory=FeaturesConfig)

    @model_validator(mode="after")
    def _rate(self) -> RunConfig:
        rate = 2e-4 if self.model.tuning == Tuning.LORA else 2e-5
        self.train.backbone_learning_rate = self.train.backbone_learning_rate or rate
        return self


def load_config(path: str | Path, overrides: list[str] | None = None) -> RunConfig:
    """Read a YAML file and apply `a.b=value` overrides (values are YAML).

    Data, backbone, tokenizer and template are looked for from the working directory first, and then from the folder of
    the file. What is written (`output_dir`, `features.cache`) is always relative to the working directory.

    Raises:
        ConfigError: naming every key that is unknown or has a value that is not allowed.

    Example:
        >>> from vrm import load_config
        >>> load_config("run.yaml", ["train.epochs=2"]).train.epochs
        2.0
    """
    file = Path(at_home(str(path)))
    if not file.is_file() and not is_stream(file):
        raise ConfigError(f"{file}: no such file")
    values = _yaml(read_text(file), str(file))
    if not isinstance(values, dict):
        raise ConfigError(f"{file}: expected a mapping at the top, found {type(values).__name__}")
    values = renamed_keys(values)
    for override in overrides or []:
        apply_override(values, override)
    return _with_files_beside(parse_config(values, str(file)), file.parent)


def _with_files_beside(config: RunConfig, folder: Path) -> RunConfig:
    """The configuration with what it reads from its own folder, where the working directory lacks it."""
    for part, entries in (("train", config.data.train), ("eval", config.data.eval)):
        for place, entry in enumerate(entries):
            entry.path = beside(entry.path, folder, f"data.{part}.{place}.path")
    for name in ("backbone", "from_scratch", "tokenizer", "chat_template"):
        if (value := getattr(config.model, name)) not in (None, *EMBEDDED_BACKBONES):
            setattr(config.model, name, beside(value, folder, f"model.{name}"))
    return config


def _yaml(text: str, where: str) -> Any:
    try:
        return load_yaml(text)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from error


def apply_override(values: dict[str, Any], override: str) -> None:
    """Set one dotted key of nested dictionaries from `a.b=value`, list positions as numbers; raises ConfigError."""
    key, separator, text = override.partition("=")
    if not separator or not key:
        raise ConfigError(f"--set: the form is A.B=VALUE, got {override!r}")
    if key in RENAMED:
        warn_of_old_key(key)
    *parents, last = RENAMED.get(key, key).split(".")
    node: Any = values
    for part in parents:
        node = _child(node, part, key)
    value = _yaml(text, f"--set {key}")
    if isinstance(node, list):
        node[_position(node, last, key)] = value
    elif isinstance(node, dict):
        node[last] = value
    else:
        raise ConfigError(f"--set {key}: {parents[-1]!r} is not a section")


def _child(node: Any, part: str, key: str) -> Any:
    if isinstance(node, list):
        position = _position(node, part, key)
        if isinstance(node[position], str):  # a source that is given by its path alone
            node[position] = {"path": node[position]}
        return node[position]
    if not isinstance(node, dict):
        raise ConfigError(f"--set {key}: {part!r} lies inside a value, not a section")
    if node.get(part) is None:
        node[part] = {}
    return node[part]


def _position(node: list[Any], part: str, key: str) -> int:
    if not part.isdigit() or int(part) >= len(node):
        raise ConfigError(f"--set {key}: {part!r} is not a position in a list of {len(node)}")
    return int(part)


def parse_config(values: dict[str, Any], where: str = "config") -> RunConfig:
    """Check a dictionary; raises ConfigError that lists every problem with its dotted key."""
    try:
        return RunConfig.model_validate(renamed_keys(values))
    except ValidationError as error:
        lines = [_problem(dict(entry)) for entry in error.errors()]
        raise ConfigError(f"{where}: {len(lines)} problem(s)\n" + "\n".join(f"  {line}" for line in lines)) from error


def _problem(entry: dict[str, Any]) -> str:
    key = ".".join(str(part) for part in entry["loc"])
    if entry["type"] == "extra_forbidden":
        meant = _suggestion(entry["loc"], key)
        return f"{key}: unknown key" + (f"; did you mean {meant}?" if meant else "")
    if entry["type"] == "missing":
        return f"{key}: required"
    return f"{key}: {entry['msg']}; got {entry.get('input')!r}"


def _suggestion(loc: tuple[int | str, ...], key: str) -> str | None:
    """The key that an unknown one may stand for: alike in its section, or of the same name elsewhere, or alike."""
    *parents, name = (str(part) for part in loc)
    close = difflib.get_close_matches(name, _section_at(loc[:-1]).model_fields, 1)
    if close:
        return ".".join([*parents, close[0]])
    known = config_keys()
    same = [other for other in known if other.rpartition(".")[2] == name]
    return next(iter(same or difflib.get_close_matches(key, known, 1, cutoff=0.75)), None)


def _section_at(loc: tuple[int | str, ...]) -> type[BaseModel]:
    section: type[BaseModel] = RunConfig
    for part in loc:
        if isinstance(part, str):
            annotation = section.model_fields[part].annotation
            (section,) = get_args(annotation) or (annotation,)
    return section


def config_keys(model: type[BaseModel] = RunConfig, prefix: str = "") -> list[str]:
    """Every dotted key of the configuration, sections' leaves only."""
    keys: list[str] = []
    for name, info in model.model_fields.items():
        nested = info.annotation
        if isinstance(nested, type) and issubclass(nested, BaseModel):
            keys += config_keys(nested, f"{prefix}{name}.")
        else:
            keys.append(prefix + name)
    return keys
