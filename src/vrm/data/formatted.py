"""Texts that a chat template has formatted already, taken apart into prompt and completion again."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from vrm.data.chat import ChatTokenizer, generation_prompt, texts_guarded_against
from vrm.data.drafts import Draft
from vrm.data.encoding import Part, Piece
from vrm.data.schema import Judgment
from vrm.data.template_guard import broken_text
from vrm.data.tokenized import TokenizedJudgment, encoded
from vrm.errors import BoundaryError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


_SENTINEL = "vrmFormattedSentinel"


@dataclass(frozen=True, slots=True)
class _Frame:
    """What the template makes of a short conversation: all of it, and what stands around the completion's content.

    `opening` follows the generation prompt (a line end, perhaps an empty thought); `tail` follows the content, which
    some templates strip of whitespace at both ends (`trims`).
    """

    rendered: str
    opening: str
    tail: str
    trims: bool


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

    The prompt's text parses special tokens. The completion's never does, whatever it spells, but for the end of turn.
    The turn is closed as the template closes it, whether or not the text has its end: a policy stops after its
    end-of-turn token, or at its limit of length. The reward is that of the same completion as a message.

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
        draft = self.draft_of(text, prompt)
        return encoded(draft, self.together([draft]))

    def draft_of(self, text: str, prompt: str | None = None) -> Draft:
        """A formatted text before it is encoded; arguments and errors as of `tokenize`."""
        parts = self.split(text, prompt)
        judgment = Judgment(parts.prompt, [parts.completion])
        if parts.is_chat:
            return Draft(judgment, self._prompt_piece(parts.prompt), (self._completion_part(parts.completion),))
        return self.draft(judgment)

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
        count = content.count(self.pattern)
        if not self.pattern:
            raise BoundaryError(
                "this model has no chat template, so the end of the prompt cannot be found: give the prompt's text"
            )
        if count == 0:
            raise BoundaryError(
                f"the text does not hold the chat template's generation prompt ({self.pattern!r}), so the end of the "
                "prompt is unknown: format it with the reward model's own chat template, or give the prompt's text"
            )
        if count > 1:
            raise BoundaryError(
                f"the text holds the chat template's generation prompt ({self.pattern!r}) {count} times, so the end of "
                "the prompt is ambiguous: give the prompt's text (or messages)"
            )
        before, _, after = content.partition(self.pattern)
        return SplitText(before + self.pattern, after, is_chat=True)

    def _split_after(self, prompt: str, rest: str) -> SplitText:
        completion = self._without_end(rest)
        if not self.pattern:
            return SplitText(prompt, completion, is_chat=False)
        before, pattern, after = prompt.rpartition(self.pattern)
        end, follows = self._frame.tail.strip(), rest.lstrip().startswith(self.pattern)
        # The policy's template may add to the generation prompt (an empty thought, say): that is the completion's.
        # What ends a turn after it shows that it opened an earlier turn.
        earlier = end in after if end else follows and bool(after.strip())
        if pattern and not earlier:
            return SplitText(before + pattern, after + completion, is_chat=True)
        if pattern or follows or any(token in prompt for token in self._special_tokens):
            raise BoundaryError(
                "the prompt is formatted by a chat template but does not end with its generation prompt "
                f"({self.pattern!r}): format it with add_generation_prompt=True, or pass plain text"
            )
        return SplitText(prompt, completion, is_chat=False)

    @cached_property
    def _frame(self) -> _Frame:
        turns = [{"role": "user", "content": "x"}, {"role": "assistant", "content": _SENTINEL}]
        rendered = self._render(turns, Judgment(""))
        before, _, tail = rendered.partition(_SENTINEL)
        opening = before.rpartition(self.pattern)[2] if self.pattern in before else ""
        turns[1]["content"] = f" {_SENTINEL} "
        return _Frame(rendered, opening, tail, trims=turns[1]["content"] not in self._render(turns, Judgment("")))

    def _without_end(self, text: str) -> str:
        """A text without its end of turn, and without the padding that may follow that."""
        pad, tail = str(self.tokenizer.pad_token or ""), self._frame.tail if self.pattern else ""
        while pad and pad != tail.strip() and text.rstrip().endswith(pad):
            text = text.rstrip().removesuffix(pad)
        if tail and text.endswith(tail):
            return text[: -len(tail)]
        stripped = text.rstrip()
        ends = (tail.strip(), str(self.tokenizer.eos_token or ""))
        end = next((end for end in ends if end and stripped.endswith(end)), None)
        return text if end is None else stripped[: -len(end)]

    def _prompt_piece(self, prompt: str) -> Piece:
        # Some clients take the first token off, because their own engine would add it once more.
        for token in (self.tokenizer.bos_token, self.tokenizer.cls_token):
            if token and self._frame.rendered.startswith(str(token)) and not prompt.startswith(str(token)):
                prompt = str(token) + prompt
        return Piece(prompt)

    def _completion_part(self, completion: str) -> Part:
        opening, tail, trims = self._frame.opening, self._frame.tail, self._frame.trims
        if opening.strip() and completion.startswith(opening):
            content = completion[len(opening) :]
            content = broken_text(content.strip() if trims else content, self._guarded_against)
            return Part((Piece(opening), Piece(content, marked=False), Piece(tail)))
        if trims and not opening.strip():
            completion = opening + completion.strip()
        return Part((Piece(broken_text(completion, self._guarded_against), marked=False), Piece(tail)))

    @cached_property
    def _guarded_against(self) -> list[str]:
        return texts_guarded_against(self.tokenizer)
