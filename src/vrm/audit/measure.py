"""What a model says about completions before and after edits, gathered into arrays."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

import torch

from vrm.audit.apply import OtherCompletions, edit_context, edited
from vrm.audit.edits import NOT_RAISE, Edit
from vrm.choices import RewardScale
from vrm.data.pairs import decided_pairs
from vrm.data.schema import Judgment
from vrm.data.splits import prompt_key
from vrm.data.style import plain_text
from vrm.data.tokenized import TokenizedJudgment
from vrm.errors import ConfigError
from vrm.inference.engine import RewardEngine
from vrm.inference.judged import JudgedBatch
from vrm.inference.reward_choice import RewardChoice
from vrm.inference.rewards import RewardView

WINDOW_TEXTS = 768
"""Texts judged together, about; bounds memory whatever the size of the file."""

Progress = Callable[[int, int], None]
"""Called with (judgments done, judgments in all)."""


@dataclass
class EditArrays:
    """What one edit did, one entry a completion or a pair.

    Attributes:
        shift: reward after the edit minus before, raw, of each measured completion.
        prompts: their prompt keys.
        own_shift: the same of the edited completion of each measured pair.
        margin_before: reward of the chosen minus that of the rejected completion, of each measured pair.
        margin_after: the same after the edit of one side, the rejected (`must not raise`) or the chosen.
        probability_before: that the side to be edited is preferred, by (8).
        probability_after: the same after the edit.
        pair_prompts: prompt keys of the pairs.
        not_applicable: completions that the edit does not apply to.
        overlong: edited completions that do not fit the model's limit, and are not measured.
    """

    shift: list[float] = field(default_factory=list)
    prompts: list[str] = field(default_factory=list)
    own_shift: list[float] = field(default_factory=list)
    margin_before: list[float] = field(default_factory=list)
    margin_after: list[float] = field(default_factory=list)
    probability_before: list[float] = field(default_factory=list)
    probability_after: list[float] = field(default_factory=list)
    pair_prompts: list[str] = field(default_factory=list)
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
        kappa: of the pessimistic reward; 0 takes the mean reward.
    """

    edits: Mapping[str, Edit]
    seed: int = 0
    kappa: float = 0.0


@dataclass(frozen=True)
class _Row:
    """A judgment with the edits of its completions; `place[name, i]` is where the edited completion i stands."""

    tokenized: TokenizedJudgment
    place: dict[tuple[str, int], int]
    pairs: list[tuple[int, int]]


def measure(
    engine: RewardEngine, judgments: Sequence[Judgment], plan: AuditPlan, progress: Progress | None = None
) -> AuditArrays:
    """Run the engine over the completions of judgments, as they are and edited.

    An edited completion is read after the same tokens of the prompt as the original. One that does not fit behind them
    is counted and left out, and so are edits of a completion that is cut to fit already: the difference would be that
    of the cut.

    Raises:
        ConfigError: no edits, a kappa that is not allowed, or a head that has no uncertainty for it.
        NumericsError: if a reward is not finite.
    """
    if not plan.edits:
        raise ConfigError("there is no edit to try: give at least one.")
    others = OtherCompletions(judgments)
    view = RewardView(engine.model.config, RewardChoice(RewardScale.RAW, plan.kappa or None))
    arrays = AuditArrays({name: EditArrays() for name in plan.edits})
    rows = _prepared(engine, judgments, plan, others, arrays, progress)
    texts = 0
    window: list[_Row] = []
    for row in rows:
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
    probabilities = _Probabilities(batch)
    for number, row in enumerate(window):
        values = rewards[number]
        key = prompt_key(row.tokenized.judgment)
        for (name, index), edited_at in row.place.items():
            arrays.edits[name].shift.append(values[edited_at] - values[index])
            arrays.edits[name].prompts.append(key)
        for name, edit in plan.edits.items():
            for chosen, rejected in row.pairs:
                side, rival = (rejected, chosen) if edit.kind == NOT_RAISE else (chosen, rejected)
                after = row.place.get((name, side))
                if after is not None:
                    probabilities.ask(number, name, (side, after, rival))
        _collect_originals(row, values, key, arrays)
    for (number, name, (side, after, rival)), before_p, after_p in probabilities.answers():
        values, of_edit = rewards[number], arrays.edits[name]
        sign = -1.0 if plan.edits[name].kind == NOT_RAISE else 1.0
        of_edit.own_shift.append(values[after] - values[side])
        of_edit.margin_before.append(sign * (values[side] - values[rival]))
        of_edit.margin_after.append(sign * (values[after] - values[rival]))
        of_edit.probability_before.append(before_p)
        of_edit.probability_after.append(after_p)
        of_edit.pair_prompts.append(prompt_key(window[number].tokenized.judgment))


def _collect_originals(row: _Row, values: Sequence[float], key: str, arrays: AuditArrays) -> None:
    start = len(arrays.rewards)
    for index, completion in enumerate(row.tokenized.judgment.completions):
        arrays.rewards.append(values[index])
        arrays.texts.append(plain_text(completion))
        arrays.prompts.append(key)
        arrays.rows.append(arrays.judgments)
    arrays.labels += [(start + chosen, start + rejected) for chosen, rejected in row.pairs]
    arrays.judgments += 1


_Places = tuple[int, int, int]
_Question = tuple[int, str, _Places]


class _Probabilities:
    """P(side preferred to rival) by (8), before and after an edit, for many pairs of a batch at once."""

    def __init__(self, batch: JudgedBatch) -> None:
        self._batch = batch
        self._questions: list[_Question] = []

    def ask(self, row: int, name: str, places: _Places) -> None:
        """Add a pair: its row of the batch, the edit, and the places of side, edited side and rival."""
        self._questions.append((row, name, places))

    def answers(self) -> Iterator[tuple[_Question, float, float]]:
        """The questions in the order asked, each with the probability before and after."""
        remaining = iter(self._questions)
        while questions := list(islice(remaining, 1024)):
            rows = torch.tensor([row for row, _, _ in questions])
            side, after, rival = (torch.tensor([places[part] for _, _, places in questions]) for part in range(3))
            before_p, after_p = (
                self._batch.log_probabilities(rows, first, rival)[0].double().exp().tolist() for first in (side, after)
            )
            yield from zip(questions, before_p, after_p, strict=True)
