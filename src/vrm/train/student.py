"""A plain student: the backbone's own sequence classifier with one output, and the texts that its loaders make."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModelForSequenceClassification, PreTrainedModel, PreTrainedTokenizerBase
from transformers.models.auto.modeling_auto import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING

from vrm.data.rendering import render
from vrm.data.schema import Judgment, Message, Text
from vrm.errors import ConfigError
from vrm.model.modeling_vrm import VRMForSequenceClassification
from vrm.model.packing import padded_passes
from vrm.model.padding import pad_right

TOKEN_BUDGET = 8192


@dataclass(frozen=True, slots=True)
class StudentExample:
    """One completion in its context, as plain loaders read it, and the teacher's reward.

    Attributes:
        forms: token ids of the text as the chat template renders it (vLLM, SGLang, TRL) and, where it ends in line
            ends, of the text without them (OpenRLHF).
        reward: E[r] of the teacher.
        judgment: position of the row it belongs to.
    """

    forms: tuple[list[int], ...]
    reward: float
    judgment: int


def loader_texts(tokenizer: PreTrainedTokenizerBase, judgment: Judgment, conversational: bool) -> list[str]:
    """What a loader that knows nothing but the chat template makes of each completion.

    Plain text of models that were not trained on messages is prompt, completion and end token.

    Args:
        tokenizer: the teacher's.
        judgment: the row.
        conversational: whether plain text becomes messages, as the teacher has it.
    """
    if not conversational and isinstance(judgment.prompt, str):
        return [f"{judgment.prompt}{text}{tokenizer.eos_token or ''}" for text in judgment.completions]
    prompt = _messages(judgment.prompt, "user")
    return [
        render(tokenizer, [*prompt, *_messages(completion, "assistant")], judgment)
        for completion in judgment.completions
    ]


def _messages(value: Text, role: str) -> list[Message]:
    return [{"role": role, "content": value}] if isinstance(value, str) else value


def loader_ids(tokenizer: PreTrainedTokenizerBase, text: str, conversational: bool) -> tuple[list[int], ...]:
    """Token ids of a text as it is and, if that differs, without line ends at its end.

    The chat template writes special tokens itself; only plain text gets those that the tokenizer adds.
    """
    forms = dict.fromkeys((text, text.rstrip("\n")))
    return tuple(list(tokenizer.encode(form, add_special_tokens=not conversational, verbose=False)) for form in forms)


def build_student(teacher: VRMForSequenceClassification, tokenizer: PreTrainedTokenizerBase, seed: int) -> Any:
    """The backbone's sequence classifier with the teacher's backbone inside; what the backbone lacks is fresh.

    Args:
        teacher: in float32.
        tokenizer: its tokenizer, whose pad token the student's configuration names.
        seed: of the fresh layers.

    Returns:
        a `transformers` model in float32 with one label, such as `Qwen3ForSequenceClassification`.

    Raises:
        ConfigError: if the architecture has no such class, or not with this backbone inside.
    """
    config = copy.deepcopy(teacher.config.backbone_config)
    if type(config) not in MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING:
        raise ConfigError(
            f"transformers has no sequence classifier for the architecture {config.model_type!r}, so there is no "
            "plain student of this model; `vrm export --remote-code` and `vrm serve` work with any"
        )
    config.num_labels, config.id2label, config.label2id = 1, {0: "reward"}, {"reward": 0}
    # With one label servers apply the logistic function, unless it is a regression.
    config.problem_type = "regression"
    config.pad_token_id, config._name_or_path = tokenizer.pad_token_id, ""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        student = AutoModelForSequenceClassification.from_config(config, dtype=torch.float32)
    missing, unexpected = student.base_model.load_state_dict(teacher.backbone.state_dict(), strict=False)
    foreign = [name for name in missing if not name.startswith("pooler.")] + list(unexpected)
    if foreign:
        raise ConfigError(
            f"{type(student).__name__} does not hold this backbone ({', '.join(foreign[:3])} differ): it cannot be a "
            "student of this model"
        )
    return student.eval()


def score_layer(student: nn.Module) -> nn.Linear:
    """The linear layer with one output that everything before leads to: `score`, `classifier`, or inside of it."""
    return [layer for layer in student.modules() if isinstance(layer, nn.Linear) and layer.out_features == 1][-1]


def fresh_parameters(student: PreTrainedModel) -> list[str]:
    """Names of parameters between the teacher's backbone and the score layer; encoders have some, decoders none."""
    backbone = f"{student.base_model_prefix}."
    score = {id(parameter) for parameter in score_layer(student).parameters()}
    return [
        name
        for name, parameter in student.named_parameters()
        if id(parameter) not in score and (not name.startswith(backbone) or name.startswith(f"{backbone}pooler."))
    ]


def choose_pad_token(tokenizer: PreTrainedTokenizerBase, examples: Iterable[StudentExample]) -> bool:
    """Let a tokenizer pad with what no text ends with: transformers would read another last token than other loaders.

    Many chat models pad with the token that ends a turn. Then the first special token that is in no text is taken.

    Returns:
        Whether another token than before is the pad token now.

    Raises:
        ConfigError: there is no such token.
    """
    forms = [form for example in examples for form in example.forms]
    if tokenizer.pad_token_id is not None and all(form[-1] != tokenizer.pad_token_id for form in forms):
        return False
    used = {token for form in forms for token in form}
    added = sorted(tokenizer.added_tokens_decoder.items())
    free = [str(token) for number, token in added if token.special and number not in used]
    if not free:
        raise ConfigError(
            f"the tokenizer's pad token ({tokenizer.pad_token!r}) is absent or what texts end with: plain loaders "
            "would disagree on the last token. Save the teacher's tokenizer with a pad token of its own"
        )
    tokenizer.pad_token = free[0]
    return True


@torch.no_grad()
def student_outputs(
    student: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, rows: Sequence[Sequence[int]]
) -> Tensor:
    """What the student's last layer gives for rows of ids, (rows, outputs), in order, on the CPU.

    Rows of similar length share a pass of at most `TOKEN_BUDGET` token positions.
    """
    passes = list(padded_passes([(1, len(row)) for row in rows], TOKEN_BUDGET))
    outputs = [
        student(**padded(tokenizer, [rows[number] for number in numbers], student.device)).logits.cpu()
        for numbers in passes
    ]
    order = torch.tensor([number for numbers in passes for number in numbers])
    return torch.cat(outputs).float()[order.argsort()]


def padded(
    tokenizer: PreTrainedTokenizerBase, rows: Sequence[Sequence[int]], device: torch.device
) -> dict[str, Tensor]:
    """Rows padded on the right by the pad token, which such classifiers find the last token by."""
    ids, mask = (part.to(device) for part in pad_right(rows, fill=int(tokenizer.pad_token_id or 0)))
    return {"input_ids": ids, "attention_mask": mask.long()}
