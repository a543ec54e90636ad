"""A reward model for the PPO trainer of TRL 1.10 to 1.12 (later versions have none).

That trainer hands a reward model token ids of its policy, queries padded to the left, and reads

    backbone = getattr(model, model.base_model_prefix)
    model.score(backbone(input_ids, attention_mask, position_ids, ...).hidden_states[-1])

at the last token of every row. `PPORewardModel` answers that with the reward of `vrm score`. Policy and reward model
must have one tokenizer, as that trainer demands of any reward model; the value model stays an ordinary
`AutoModelForSequenceClassification`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from vrm.data.chat import ChatTokenizer
from vrm.data.schema import Judgment, Message
from vrm.data.tokenized import JudgmentTokenizer, TokenizedJudgment
from vrm.errors import BoundaryError, ConfigError
from vrm.integrations.trl import RewardFunction

_PROBE: list[Message] = [{"role": "user", "content": "."}]


@dataclass(frozen=True)
class RowRewards:
    """What stands in for a backbone's output: hidden states, of which the trainer reads the last."""

    hidden_states: tuple[Tensor, ...]


class PPORewardModel(nn.Module):
    """What PPOTrainer takes as `reward_model`: `PPORewardModel(reward_function(MODEL, kappa=1.0))`.

    Args:
        function: says model, steering and kappa. Its model must have a guarded chat template.

    Raises:
        ConfigError: if it has none.
    """

    base_model_prefix = "reader"

    def __init__(self, function: RewardFunction) -> None:
        super().__init__()
        self.reader = RowReader(function)
        self.score = nn.Identity()


class RowReader(nn.Module):
    """Stands for the backbone: its last hidden state, of width 1, is the row's reward at every position.

    Prompts end at one column, since queries are padded to the left: the last at which all rows have the pattern that
    ends a prompt. What follows, to the end of turn, is decoded and goes through the chat template, so a row is
    tokenized as `vrm score` tokenizes it, and special tokens that the policy sampled are read as text.
    """

    def __init__(self, function: RewardFunction) -> None:
        super().__init__()
        engine = function.judge.engine
        config = engine.model.config
        if not config.guarded_template or not config.prompt_boundary_ids:
            raise ConfigError(
                "PPO passes token ids alone, and this model's chat template is not guarded (guarded_template in its "
                "config.json), so prompts cannot be told from completions: train it again with this version"
            )
        self.model = engine.model
        self.pattern: list[int] = config.prompt_boundary_ids
        self.function = function
        self.tokenizer = engine.tokenizer
        self.chat = ChatTokenizer(engine.tokenizer)
        self.fit = JudgmentTokenizer(self.chat, config.max_input_tokens, "truncate").fit
        self.probe = self.chat.prompt(Judgment(_PROBE))

    def forward(self, input_ids: Tensor, attention_mask: Tensor, **_: Any) -> RowRewards:
        """Rewards of rows (rows, length), as hidden states (rows, length, 1).

        Raises:
            BoundaryError: if there is no column at which every row has the pattern.
        """
        mask = attention_mask.bool()
        column = self._prompt_end(input_ids, mask)
        rows = [self._row(ids.tolist(), real.tolist(), column) for ids, real in zip(input_ids, mask, strict=True)]
        judge = self.function.judge
        rewards = self.function.values(judge.of_tokenized([self.fit(row) for row in rows])).to(input_ids.device)
        return RowRewards((rewards.float()[:, None, None].expand(-1, input_ids.shape[1], 1),))

    def _prompt_end(self, input_ids: Tensor, mask: Tensor) -> int:
        size = len(self.pattern)
        if input_ids.shape[1] >= size:
            pattern = torch.tensor(self.pattern, device=input_ids.device)
            found = (input_ids.unfold(1, size, 1) == pattern).all(-1) & mask.unfold(1, size, 1).all(-1)
            columns = found.all(0).nonzero()
            if len(columns):
                return int(columns[-1]) + size
        raise BoundaryError(
            "the rows do not have the pattern that ends a prompt at a common column: make queries with the reward "
            "model's chat template and add_generation_prompt=True, padded to the left"
        )

    def _row(self, ids: list[int], real: list[bool], column: int) -> TokenizedJudgment:
        # Where the trainer pads with the end of turn, those inside a prompt are masked and overwritten too.
        end = self.tokenizer.eos_token_id
        prompt = [token if kept else end for token, kept in zip(ids, real, strict=True)][real.index(True) : column]
        completion = ids[column:]
        stops = [position for position in range(len(completion)) if not real[column + position]]
        completion = completion[: min(stops, default=len(completion))]
        if end in completion:
            completion = completion[: completion.index(end)]
        text = self.tokenizer.decode(completion, clean_up_tokenization_spaces=False).removeprefix(self.probe.gap)
        message: Message = {"role": "assistant", "content": text}
        tokens = self.chat.completion(self.probe, [message], Judgment(_PROBE))
        return TokenizedJudgment(prompt, [tokens], Judgment("", [text]))
