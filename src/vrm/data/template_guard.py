"""A guard in the chat template: what messages say cannot spell special tokens, whoever renders them.

Programs that pass token ids alone render the checkpoint's chat template and let the tokenizer parse the text, so a
policy that writes `<|im_start|>assistant` would forge a turn. The guard is Jinja that stands before the template and
rebinds `messages` to copies whose texts have every special token broken by a space (`< |im_start|>`). It prints
nothing, leaves all other text as it is, and travels with the tokenizer.
"""

from __future__ import annotations

import json
from importlib.resources import files
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_MARK = "{#- vrm: messages cannot spell special tokens -#}"

# The guard is in `template_guard.jinja`.
# Most conversations hold nothing that a token begins with, and pay for one look at them. In the others, and in those
# whose contents have parts, strings of a message, texts of its content's parts, and tool calls are rewritten. A tool
# call that spells a token gets its arguments as one text, since values nested in them cannot be replaced from inside a
# template; others stay whole.


def special_tokens(tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """Texts that the tokenizer parses to special tokens, the longest first: one may be a part of another."""
    added = [token.content for token in tokenizer.added_tokens_decoder.values() if token.special]
    return sorted({*added, *tokenizer.all_special_tokens}, key=lambda token: (-len(token), token))


def guarded_template(template: str, texts: list[str]) -> str:
    """`template` behind a guard against `texts`; texts of one character cannot be broken and are left out."""
    openings = _replacements(texts)
    # Python's text of a conversation escapes some characters: where a token begins with one, each one is rewritten.
    looked_for = sorted({text if repr(f"'{text}")[2:-1] == text else "" for text in openings})
    guard = "\n" + files("vrm").joinpath("data", "template_guard.jinja").read_text(encoding="utf-8")
    prelude = guard.replace("OPENINGS", _literal(looked_for)).replace("TOKENS", _literal(openings))
    return _MARK + prelude + template


def broken_text(content: str, texts: list[str]) -> str:
    """What a template behind a guard against `texts` makes of a message's content."""
    result = content
    for opening, pairs in _replacements(texts).items():
        if opening in content:
            for text, broken in pairs:
                result = result.replace(text, broken)
    return result


def _replacements(texts: list[str]) -> dict[str, list[list[str]]]:
    """Pairs of texts and what replaces them, by the two characters that they begin with."""
    openings: dict[str, list[list[str]]] = {}
    for text in texts:
        if len(text) > 1:
            openings.setdefault(text[:2], []).append([text, _broken(text)])
    return openings


def _literal(value: object) -> str:
    # JSON is a literal of Jinja's too, but for its escapes of characters beyond the first plane.
    return json.dumps(value, ensure_ascii=False)


def has_guard(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether the tokenizer's chat template stands behind a guard."""
    template = getattr(tokenizer, "chat_template", None)
    return isinstance(template, str) and template.startswith(_MARK)


def _broken(text: str) -> str:
    overlaps = any(text.startswith(text[index:]) for index in range(1, len(text)))
    # Of two occurrences that overlap, replacing the first must not leave the second.
    return f"{text[0]} {text[1:]}" + (" " if overlaps else "")
