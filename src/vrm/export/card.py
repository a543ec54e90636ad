"""The model card: README.md of an exported model, filled from the run. What is not known is said to be unknown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vrm import __version__
from vrm.choices import RewardScale
from vrm.errors import ConfigError, DataError
from vrm.export.card_run import data_section, training_section
from vrm.export.directory import hub_name
from vrm.export.markdown import NONE, UNKNOWN, card, code, names, number, share, table
from vrm.inference.identifiability import identifiability
from vrm.metrics import Interval
from vrm.model.checkpoint import weights_sha256
from vrm.model.heads.registry import head_class
from vrm.results import (
    BenchmarkEntry,
    EvaluationDocument,
    Kind,
    RunDocument,
    from_json,
    read_document,
    read_object,
)
from vrm.results.formats import FEW_PROMPTS, few_words, held_out_accuracy, scale_rows

if TYPE_CHECKING:
    from vrm.model.configuration_vrm import VRMConfig
    from vrm.model.modeling_vrm import VRMForSequenceClassification


@dataclass(frozen=True)
class CardFacts:
    """What a card is written from.

    Attributes:
        name: of the model.
        model: as exported.
        backbone: where its weights came from, as the run names it; None if unknown.
        remote_code: whether the directory holds its own code.
        run: `run.json`, or None.
        results: documents of `vrm evaluate`.
        license: identifier for the Hub; None if not stated.
        rounded_to: dtype that the backbone's weights were stored in after everything was measured; None if the same.
    """

    name: str
    model: VRMForSequenceClassification
    backbone: str | None = None
    remote_code: bool = False
    run: RunDocument | None = None
    results: Sequence[EvaluationDocument] = field(default=())
    license: str | None = None
    rounded_to: str | None = None


def read_run_beside(model: str | Path) -> RunDocument | None:
    """The `run.json` that `vrm train` wrote beside a model directory; None if there is none.

    Raises:
        DataError: if it is not what `vrm train` writes.
    """
    file = Path(model).resolve().parent / "run.json"
    if not Path(model).is_dir() or not file.is_file():
        return None
    content = read_object(file)
    missing = sorted({"config", "rows", "metrics", "versions"} - set(content))
    if missing:
        raise DataError(f"{file} lacks {', '.join(missing)}, which `vrm train` writes: move it away, or train again")
    return from_json(RunDocument, content, file)


def read_results(files: Sequence[Path], model: str | Path) -> list[EvaluationDocument]:
    """Documents of `vrm evaluate --json`, checked to be of this model.

    Raises:
        DataError: if a file is not such a document.
        ConfigError: if it was measured on other weights.
    """
    documents = []
    weights = weights_sha256(str(model)) if files else None
    for file in files:
        document = read_document(file, [Kind.EVALUATION], "a document of `vrm evaluate --json`")
        assert isinstance(document, EvaluationDocument)
        if document.model_sha256 != weights:
            raise ConfigError(
                f"{file} was measured on the weights {document.model_sha256} (of {document.model}), "
                f"but {model} has {weights}: evaluate this model"
            )
        documents.append(document)
    return documents


def model_card(facts: CardFacts) -> str:
    """The card as Markdown with YAML front matter."""
    sections = {
        "": _summary(facts),
        "Model": _model(facts),
        "How to load": _loading(facts),
        "Training data": data_section(facts.run),
        "Training": training_section(facts.run),
        "Results": _results(facts),
        "Intended use": _USE,
        "Limits": _limits(facts),
        "Versions": _versions(facts),
    }
    return card(facts.name, _fields(facts), sections)


def _fields(facts: CardFacts) -> dict[str, Any]:
    sources = [] if facts.run is None else facts.run.config["data"]["train"]
    datasets = [hub_name(source["path"]) for source in sources]
    return {
        "license": facts.license,
        "base_model": hub_name(facts.backbone),
        "datasets": list(dict.fromkeys(name for name in datasets if name)),
        "tags": ["reward-model", "preference-learning", "vrm", *(["custom_code"] if facts.remote_code else [])],
    }


def _beside_the_reward(config: VRMConfig) -> str:
    objectives = "the objective weights and every objective's score stand beside it"
    if config.has_reward_uncertainty:
        return f"; its variance, {objectives}" if config.models_objectives else "; its variance stands beside it"
    return f"; {objectives}, without uncertainty" if config.models_objectives else ""


def _summary(facts: CardFacts) -> str:
    config = facts.model.config
    return (
        "A reward model: it maps a prompt and a completion to a reward. It was trained with the package `vrm` "
        f"([variational reward modeling](https://arxiv.org/abs/2603.04974)); its head is `{config.head}`, "
        f"{head_class(config.head).description}. "
        f"`.logits` is the expected reward{_beside_the_reward(config)}."
    )


def _model(facts: CardFacts) -> str:
    model, config = facts.model, facts.model.config
    rows = [
        ["backbone", f"{_backbone(facts)}; {config.backbone_kind}, `{config.backbone_config.model_type}`"],
        ["parameters", f"backbone {_count(model.backbone)}, head {_count(model.score)}"],
        ["weights stored as", f"{str(config.dtype).removeprefix('torch.')} (head: float32)"],
        ["input", "messages, through the chat template" if config.conversational else "plain text"],
        ["longest input", f"{config.max_input_tokens:,} tokens, prompt and completion together"],
        ["scale of rewards", _scale(facts)],
        [
            "`.logits`",
            "in units of that standard deviation" if config.reward_scale == RewardScale.STANDARDIZED else "raw",
        ],
    ]
    if config.models_objectives:
        rows += [
            ["objectives", names(config.objectives)],
            ["trained on ratings of", names(config.objectives_with_ratings)],
            ["trained on votes for", names(config.objectives_with_votes)],
            ["free objectives", f"{config.num_free_objectives}"],
            ["semantic features", f"{config.num_features}"],
        ]
    rows.append(["license", facts.license or _not_stated(facts)])
    return table(["", ""], rows)


def _not_stated(facts: CardFacts) -> str:
    terms = "" if _from_scratch(facts) else "; the backbone's terms apply too"
    return f"not stated by whoever exported it{terms}"


def _from_scratch(facts: CardFacts) -> bool:
    """Whether the run started from random weights: there is no backbone of somebody else."""
    return facts.run is not None and bool(facts.run.config["model"].get("from_scratch"))


def _backbone(facts: CardFacts) -> str:
    if _from_scratch(facts):
        return "trained from random weights"
    if facts.backbone is None:
        return UNKNOWN
    known = hub_name(facts.backbone)
    if known is None:
        return f"`{Path(facts.backbone).name}`, as its training run called it"
    return f"[{known}](https://huggingface.co/{known})"


def _scale(facts: CardFacts) -> str:
    config = facts.model.config
    if (config.reward_mean, config.reward_std) == (0.0, 1.0):
        return "not recorded"
    rows, few = "held-out or training rows", ""
    if facts.run is not None and facts.run.rows is not None:
        rows, count = scale_rows(facts.run.rows.train, facts.run.rows.eval)
        few = f", only {count:,}: a rough scale" if count < FEW_PROMPTS else ""
    return f"mean {config.reward_mean:.3f}, standard deviation {config.reward_std:.3f}, on the run's {rows}{few}"


def _count(module: Any) -> str:
    return f"{sum(parameter.numel() for parameter in module.parameters()):,}"


def _loading(facts: CardFacts) -> str:
    command = f'vrm explain {facts.name} --prompt "..." --completion "..." --completion "..."'
    imports = _IMPORTS if facts.model.config.conversational else f"import torch\n{_IMPORTS}"
    parts = [
        "Replace the name by the directory or repository that holds these files. With the package `vrm`, which also "
        "scores files, explains, steers and evaluates:",
        code("bash", command),
        code("python", f"{imports}\nimport vrm\n\nvrm.register()\n{_python(facts, '')}"),
    ]
    if facts.remote_code:
        parts += [
            "Without it, by the code in this directory, which needs torch and transformers 5 alone:",
            code("python", f"{imports}\n\n{_python(facts, ', trust_remote_code=True')}"),
        ]
    else:
        parts.append("This directory holds no code of its own: where the package is not installed it does not load.")
    return "\n\n".join(parts)


_IMPORTS = "from transformers import AutoModelForSequenceClassification, AutoTokenizer"


def _python(facts: CardFacts, trust: str) -> str:
    lines = [
        f'model = AutoModelForSequenceClassification.from_pretrained("{facts.name}"{trust}).eval()',
        f'tokenizer = AutoTokenizer.from_pretrained("{facts.name}"{trust})',
    ]
    if facts.model.config.conversational:
        lines += [
            'messages = [{"role": "user", "content": "..."}, {"role": "assistant", "content": "..."}]',
            "text = tokenizer.apply_chat_template(messages, tokenize=False)",
            'output = model(**tokenizer(text, return_tensors="pt", add_special_tokens=False))',
        ]
    else:
        lines += [
            'prompt = tokenizer("...", return_tensors="pt").input_ids',
            'completion = tokenizer("...", add_special_tokens=False, return_tensors="pt").input_ids',
            "start = prompt.new_tensor([prompt.shape[1]])  # of the completion, in tokens",
            "output = model(torch.cat([prompt, completion], 1), completion_start=start)",
        ]
    return "\n".join([*lines, "output.logits, output.reward_variance, output.weights"])


def _results(facts: CardFacts) -> str:
    parts = []
    if facts.run is not None and facts.run.metrics:
        metrics = facts.run.metrics
        shown = {name: number(metrics[name]) for name in ("accuracy", "nll", "calibration_error") if name in metrics}
        if "accuracy" in shown:
            shown["accuracy"] = held_out_accuracy(metrics)
        figures = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in shown.items())
        parts.append(
            f"On the held-out rows, which chose the checkpoint and so flatter it: {figures or 'no comparisons'}."
        )
    for document in facts.results:
        steering = _steering(document)
        steered = f" Steered at inference: {steering}." if steering else ""
        packages = ("vrm", "torch", "transformers")
        versions = ", ".join(f"{name} {document.versions.get(name, UNKNOWN)}" for name in packages)
        caption = (
            "n: pairs or examples. Accuracy with 95 % intervals over prompts; length-controlled: mean of the "
            "accuracies where the chosen is the longer and the shorter; ECE: expected calibration error; a dash: not "
            "measured."
        )
        parts += [_result_table(document), f"{caption}{steered} Measured with {versions}.", *_few(document)]
    if parts and facts.rounded_to is not None:
        parts.append(f"All of this was measured before the backbone's weights were stored as {facts.rounded_to}.")
    if not facts.results:
        parts.append("No results on other data were given when this card was written.")
    return "\n\n".join(parts)


def _few(document: EvaluationDocument) -> list[str]:
    """A warning for the fewest prompts behind a file or benchmark; none where there are enough."""
    prompts = [entry.pairs.prompts for entry in document.files.values() if entry.pairs is not None]
    prompts += [entry.prompts for entry in document.benchmarks.values() if isinstance(entry, BenchmarkEntry)]
    words = few_words(min(prompts, default=FEW_PROMPTS))
    return [words] if words else []


def _steering(document: EvaluationDocument) -> str:
    """What was changed at inference, in words; empty for the model as it is."""
    steering = document.settings.get("steering") or {}
    return "; ".join(f"{name.replace('_', ' ')} {', '.join(values)}" for name, values in steering.items() if values)


def _result_table(document: EvaluationDocument) -> str:
    """A line a file of judgments, then one a figure of each benchmark; curves (best-of-n) have none."""
    head = ["data", "n", "accuracy", "length-controlled", "the longer wins", "NLL (nats)", "ECE"]
    rows = [
        [
            Path(name).name,
            f"{pairs.count:,}",
            _with_ends(pairs.accuracy),
            share(pairs.length_controlled.value),
            share(pairs.longer_wins.value),
            number(pairs.negative_log_likelihood),
            number(pairs.calibration.value),
        ]
        for name, entry in document.files.items()
        if (pairs := entry.pairs) is not None
    ]
    for name, benchmark in document.benchmarks.items():
        for figure in benchmark.figures if isinstance(benchmark, BenchmarkEntry) else ():
            data = " / ".join(part for part in (name, figure.row, figure.column) if part)
            measured = [f"{figure.examples:,}", _with_ends(figure), NONE, share(figure.longer_wins), NONE, NONE]
            rows.append([data, *measured])
    return table(head, rows)


def _with_ends(interval: Interval) -> str:
    return share(interval.estimate, interval.low, interval.high)


_USE = (
    "Ranking completions of one prompt: best-of-n, selecting preference pairs, the reward of reinforcement "
    "learning from human feedback, finding mislabelled comparisons. It sums up the judgments it was trained on: it "
    "is no measure of truth or safety, and no basis for decisions about people."
)


def _limits(facts: CardFacts) -> str:
    config = facts.model.config
    lines = [
        "Rewards are known up to a constant per prompt: compare completions of one prompt, not of different ones.",
        "It learned whatever correlates with the labels, length and format included. Quote what 'the longer wins' "
        "scores beside its accuracy, and try `vrm audit` on data of your own before optimizing against it.",
        "Data outside the training distribution, other languages and inputs that were cut to the limit of "
        f"{config.max_input_tokens:,} tokens were not examined for this card.",
        *identifiability(facts.model).statements,
    ]
    if head_class(config.head).has_parameter_uncertainty:
        lines.append(
            "The reward's variance is doubt about what the head has learned from its data, as far as the frozen "
            "features of the backbone show what is new."
        )
    elif config.has_reward_uncertainty:
        lines.append(
            "The reward's variance says how unsure it is of what matters and of how good the completion is; it is not "
            "a detector of inputs that the model does not know."
        )
    if config.has_weight_uncertainty:
        lines.append(_counts(config))
    return "\n".join(f"- {line}" for line in lines)


def _counts(config: VRMConfig) -> str:
    if config.counts_are_observations:
        return "Counts of `--emphasize` are pseudo-observations, beside the prompt's own concentration."
    return "Counts of `--emphasize` are no pseudo-observations: this loss does not learn a calibrated concentration."


def _versions(facts: CardFacts) -> str:
    trained = facts.run.versions if facts.run is not None else {}
    packages = ", ".join(f"{name} {version}" for name, version in trained.items()) or UNKNOWN
    return f"Trained with: {packages}. Exported with vrm {__version__}."
