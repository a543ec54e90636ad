"""Texts that a chat template has formatted already, taken apart into prompt and completion again."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from vrm.data.chat import ChatTokenizer, TokenizedPrompt, generation_prompt
from vrm.data.schema import Judgment
from vrm.data.tokenized import TokenizedJudgment
from vrm.errors import BoundaryError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True, slots=True)
class SplitText:
    """A formatted text in two parts.

    Attributes:
        prompt: to the end of the generation prompt, without trailing whitespace; or a plain text.
        completion: everything after it, without the end of turn.
        is_chat: whether the prompt is the chat template's, as opposed to a plain text.
    """

    prompt: str
    completion: str
    is_chat: bool


class FormattedTokenizer(ChatTokenizer):
    """Tokenizes formatted texts as `ChatTokenizer` does the messages that they were made of.

    The prompt's text parses special tokens. The completion's never does, whatever it spells, but for the end of turn,
    which is closed as the template closes it whether or not the text has it: a policy stops after its end-of-turn
    token, or at its limit of length, and the reward is that of the same completion as a message.

    Args:
        tokenizer: of the reward model, with its chat template.
        wrap_text: as in `ChatTokenizer`, for prompts that are plain texts.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, wrap_text: bool = False) -> None:
        super().__init__(tokenizer, wrap_text)
        self.pattern = (generation_prompt(tokenizer) or "").rstrip()

    def tokenize(self, text: str, prompt: str | None = None) -> TokenizedJudgment:
        """Token ids of a formatted text, as a judgment of one completion; not cut to any limit.

        Args:
            text: prompt and completion.
            prompt: the prompt's text, if it is known; see `split`.

        Raises:
            BoundaryError: if it is not certain where the prompt ends.
        """
        parts = self.split(text, prompt)
        judgment = Judgment(parts.prompt, [parts.completion])
        if parts.is_chat:
            return TokenizedJudgment(self._prompt_ids(parts.prompt), [self._completion_ids(parts.completion)], judgment)
        start = self.prompt(judgment)
        return TokenizedJudgment(start.ids, [self.completion(start, parts.completion, judgment)], judgment)

    def split(self, text: str, prompt: str | None = None) -> SplitText:
        """Where the prompt ends: with `prompt` if the text begins with it, else with the only generation prompt.

        Args:
            text: prompt and completion.
            prompt: the prompt's text; a prompt without the template's markers is a plain text.

        Raises:
            BoundaryError: if `prompt` does not settle it and the text has no generation prompt, or several; or if
                `prompt` has special tokens but does not end with a generation prompt.
        """
        if prompt and text.startswith(prompt):
            return self._split_after(prompt, text[len(prompt) :])
        content = self._without_end(text)
        count = content.count(self.pattern) if self.pattern else 0
        if count != 1:
            raise BoundaryError(self._absent() if count == 0 else self._ambiguous(count))
        before, _, after = content.partition(self.pattern)
        return SplitText(before + self.pattern, after, is_chat=True)

    def _split_after(self, prompt: str, rest: str) -> SplitText:
        completion, stripped = self._without_end(rest), prompt.rstrip()
        if not self.pattern:
            return SplitText(prompt, completion, is_chat=False)
        # A template may add to its generation prompt (an empty thought, say), so it need not be the very end.
        continues = rest.lstrip().startswith(self.pattern) and not stripped.endswith(self.pattern)
        if self.pattern in prompt and not continues:
            return SplitText(stripped, prompt[len(stripped) :] + completion, is_chat=True)
        if continues or any(token in prompt for token in self._special_tokens):
            raise BoundaryError(
                "the prompt is formatted by a chat template but does not end with its generation prompt "
                f"({self.pattern!r}): format it with add_generation_prompt=True, or pass plain text"
            )
        return SplitText(prompt, completion, is_chat=False)

    def _absent(self) -> str:
        if not self.pattern:
            return "this model has no chat template, so the end of the prompt cannot be found: give the prompt's text"
        return (
            f"the text does not hold the chat template's generation prompt ({self.pattern!r}), so the end of the "
            "prompt is unknown: format it with the reward model's own chat template, or give the prompt's text"
        )

    def _ambiguous(self, count: int) -> str:
        return (
            f"the text holds the chat template's generation prompt ({self.pattern!r}) {count} times, so the end of the "
            "prompt is ambiguous: give the prompt's text (or messages)"
        )

    @cached_property
    def _frame(self) -> TokenizedPrompt:
        """What the template puts around a completion, read off a prompt of one message."""
        return self.prompt(Judgment([{"role": "user", "content": "x"}]))

    @cached_property
    def _ends(self) -> list[str]:
        tokens = (self.tokenizer.eos_token, self.tokenizer.pad_token)
        found = [self._frame.tail.strip() if self.pattern else "", *(str(token) for token in tokens if token)]
        return [end for end in dict.fromkeys(found) if end]

    def _without_end(self, text: str) -> str:
        tail = self._frame.tail if self.pattern else ""
        if tail and text.endswith(tail):
            text = text[: -len(tail)]
        stripped = text.rstrip()
        # Padding may follow the end of turn, each spelled once or more.
        while ending := next((end for end in self._ends if stripped.endswith(end)), None):
            text = stripped[: -len(ending)]
            stripped = text.rstrip()
        return text

    def _prompt_ids(self, prompt: str) -> list[int]:
        # Some clients take the first token off, because their own engine would add it once more.
        for token in (self.tokenizer.bos_token, self.tokenizer.cls_token):
            if token and self._frame.text.startswith(str(token)) and not prompt.startswith(str(token)):
                prompt = str(token) + prompt
        return self._special(prompt)

    def _completion_ids(self, completion: str) -> list[int]:
        frame = self._frame
        opening = frame.gap + frame.lead
        if frame.lead.strip() and completion.startswith(opening):
            return self._special(opening) + self._plain(completion[len(opening) :]) + self._special(frame.tail)
        return self._plain(completion) + self._special(frame.tail)
