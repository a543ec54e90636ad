"""What a model says about completions before and after edits, gathered into arrays."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch

from vrm.audit.apply import OtherCompletions, edit_context, edited
from vrm.audit.edits import NOT_RAISE, Edit
from vrm.data.schema import Judgment
from vrm.data.splits import prompt_key
from vrm.data.style import plain_text
from vrm.data.tokenized import TokenizedJudgment
from vrm.errors import ConfigError
from vrm.inference.engine import RewardEngine
from vrm.inference.judged import JudgedBatch
from vrm.inference.reward_choice import RAW, RewardChoice
from vrm.inference.rewards import RewardView
from vrm.labels import decided_pairs

WINDOW_TEXTS = 768
"""Texts judged together, about; bounds memory whatever the size of the file."""

PAIRS_AT_ONCE = 1024

Progress = Callable[[int, int], None]
"""Called with (judgments done, judgments in all)."""


class EditedPair(NamedTuple):
    """A labelled pair before and after the edit of one side, the rejected (`must not raise`) or the chosen one.

    Attributes:
        prompt: key of its prompt.
        own_shift: reward of the edited side after the edit minus before, raw.
        margin_before: reward of the chosen minus that of the rejected completion.
        margin_after: the same after the edit.
        probability_before: that the side to be edited is preferred, by (8).
        probability_after: the same after the edit.
    """

    prompt: str
    own_shift: float
    margin_before: float
    margin_after: float
    probability_before: float
    probability_after: float


@dataclass
class EditArrays:
    """What one edit did.

    Attributes:
        shift: reward after the edit minus before, raw, of each measured completion.
        prompts: their prompt keys.
        pairs: of which a side was measured.
        not_applicable: completions that the edit does not apply to.
        overlong: edited completions that do not fit the model's limit, and are not measured.
    """

    shift: list[float] = field(default_factory=list)
    prompts: list[str] = field(default_factory=list)
    pairs: list[EditedPair] = field(default_factory=list)
    not_applicable: int = 0
    overlong: int = 0


@dataclass
class AuditArrays:
    """Arrays of one audit.

    Attributes:
        edits: by name.
        rewards: of the completions as they are, raw.
        texts: their texts.
        prompts: their prompt keys.
        rows: number of the judgment that each is in.
        labels: pairs (place of the chosen, place of the rejected) in `rewards`.
        judgments: judgments measured.
        without_completions: judgments that have none.
        cut: completions that the model cannot read whole, and that no edit was tried on.
    """

    edits: dict[str, EditArrays]
    rewards: list[float] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    prompts: list[str] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)
    labels: list[tuple[int, int]] = field(default_factory=list)
    judgments: int = 0
    without_completions: int = 0
    cut: int = 0


@dataclass(frozen=True)
class AuditPlan:
    """What is to be measured.

    Attributes:
        edits: by name.
        seed: of the edits.
        choice: of the reward, in raw units.
    """

    edits: Mapping[str, Edit]
    seed: int = 0
    choice: RewardChoice = RAW


@dataclass(frozen=True)
class _Row:
    """A judgment with the edits of its completions; `place[name, i]` is where the edited completion i stands."""

    tokenized: TokenizedJudgment
    place: dict[tuple[str, int], int]
    pairs: list[tuple[int, int]]


_Question = tuple[int, str, tuple[int, int, int]]
"""A pair: its row of the batch, the edit, and the places of side, edited side and rival."""


def measure(
    engine: RewardEngine, judgments: Sequence[Judgment], plan: AuditPlan, progress: Progress | None = None
) -> AuditArrays:
    """Run the engine over the completions of judgments, as they are and edited.

    An edited completion is read after the same tokens of the prompt as the original. One that does not fit behind them
    is counted and left out, and so are edits of a completion that is cut to fit already: the difference would be that
    of the cut.

    Raises:
        ConfigError: no edits, or a head that has no uncertainty for the reward that is chosen.
        NumericsError: if a reward is not finite.
    """
    if not plan.edits:
        raise ConfigError("there is no edit to try: give at least one.")
    others = OtherCompletions(judgments)
    view = RewardView(engine.model.config, plan.choice)
    arrays = AuditArrays({name: EditArrays() for name in plan.edits})
    texts = 0
    window: list[_Row] = []
    for row in _prepared(engine, judgments, plan, others, arrays, progress):
        window.append(row)
        texts += len(row.tokenized.completions)
        if texts >= WINDOW_TEXTS:
            _judge(engine, window, plan, view, arrays)
            window, texts = [], 0
    if window:
        _judge(engine, window, plan, view, arrays)
    if progress:
        progress(len(judgments), len(judgments))
    return arrays


def _prepared(
    engine: RewardEngine,
    judgments: Sequence[Judgment],
    plan: AuditPlan,
    others: OtherCompletions,
    arrays: AuditArrays,
    progress: Progress | None,
) -> Iterator[_Row]:
    for done, judgment in enumerate(judgments):
        if progress:
            progress(done, len(judgments))
        if not judgment.completions:
            arrays.without_completions += 1
            continue
        tokenized = engine.tokenize(judgment)
        if tokenized is not None:
            yield _edited_row(engine, tokenized, plan, others, arrays)


def _edited_row(
    engine: RewardEngine, tokenized: TokenizedJudgment, plan: AuditPlan, others: OtherCompletions, arrays: AuditArrays
) -> _Row:
    judgment, chat = tokenized.judgment, engine.tokenize.chat
    prompt = chat.prompt(judgment)
    space = engine.tokenize.max_tokens - len(tokenized.prompt)
    texts = list(tokenized.completions)
    place: dict[tuple[str, int], int] = {}
    for index, completion in enumerate(judgment.completions):
        if tokenized.completions_cut and tokenized.completions_cut[index]:
            arrays.cut += 1
            continue
        for name, edit in plan.edits.items():
            changed = edited(completion, edit, edit_context(judgment, index, name, plan.seed, others))
            if changed is None:
                arrays.edits[name].not_applicable += 1
                continue
            ids = chat.completion(prompt, changed, judgment)
            if len(ids) > space:
                arrays.edits[name].overlong += 1
                continue
            place[name, index] = len(texts)
            texts.append(ids)
    return _Row(TokenizedJudgment(tokenized.prompt, texts, judgment), place, decided_pairs(judgment))


def _judge(
    engine: RewardEngine, window: Sequence[_Row], plan: AuditPlan, view: RewardView, arrays: AuditArrays
) -> None:
    batch = engine.judge_tokenized([row.tokenized for row in window])
    rewards: list[list[float]] = view(batch).chosen.double().tolist()
    questions: list[_Question] = []
    for number, row in enumerate(window):
        key = prompt_key(row.tokenized.judgment)
        for (name, index), edited_at in row.place.items():
            arrays.edits[name].shift.append(rewards[number][edited_at] - rewards[number][index])
            arrays.edits[name].prompts.append(key)
        for name, edit in plan.edits.items():
            for chosen, rejected in row.pairs:
                side, rival = (rejected, chosen) if edit.kind == NOT_RAISE else (chosen, rejected)
                if (name, side) in row.place:
                    questions.append((number, name, (side, row.place[name, side], rival)))
        _collect_originals(row, rewards[number], key, arrays)
    for (number, name, (side, after, rival)), probabilities in zip(
        questions, _probabilities(batch, questions), strict=True
    ):
        values, key = rewards[number], prompt_key(window[number].tokenized.judgment)
        sign = -1.0 if plan.edits[name].kind == NOT_RAISE else 1.0
        before, change = sign * (values[side] - values[rival]), values[after] - values[side]
        margin_after = sign * (values[after] - values[rival])
        arrays.edits[name].pairs.append(EditedPair(key, change, before, margin_after, *probabilities))


def _collect_originals(row: _Row, values: Sequence[float], key: str, arrays: AuditArrays) -> None:
    start = len(arrays.rewards)
    for index, completion in enumerate(row.tokenized.judgment.completions):
        arrays.rewards.append(values[index])
        arrays.texts.append(plain_text(completion))
        arrays.prompts.append(key)
        arrays.rows.append(arrays.judgments)
    arrays.labels += [(start + chosen, start + rejected) for chosen, rejected in row.pairs]
    arrays.judgments += 1


def _probabilities(batch: JudgedBatch, questions: Sequence[_Question]) -> Iterator[tuple[float, float]]:
    """P(side preferred to rival) by (8) for each question, before and after the edit."""
    for start in range(0, len(questions), PAIRS_AT_ONCE):
        part = questions[start : start + PAIRS_AT_ONCE]
        rows = torch.tensor([row for row, _, _ in part])
        side, after, rival = torch.tensor([places for _, _, places in part]).T
        before_p, after_p = (
            batch.log_probabilities(rows, first, rival)[0].double().exp().tolist() for first in (side, after)
        )
        yield from zip(before_p, after_p, strict=True)
