"""The edits of an audit by name: what each does, and what a reward should make of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from random import Random
from types import MappingProxyType

from vrm.audit import additions, rewriting
from vrm.audit.context import EditContext
from vrm.errors import ConfigError
from vrm.results import EditKind

NOT_RAISE, LOWER = EditKind.NOT_RAISE, EditKind.LOWER

EditFunction = Callable[[str, EditContext], "str | None"]


@dataclass(frozen=True, slots=True)
class Edit:
    """A change of a completion's text.

    Attributes:
        kind: what a reward should make of it, `must not raise` for changes that add nothing,
            `must lower` for damage.
        function: from the text and an `EditContext` to the edited text. None where the edit does not apply; the text
            itself, or a text without a character to read, counts as that too. Chance comes from `context.random` alone.
        summary: what it does, in a few words.
        needs: what a completion must have for it to apply, in a few words; empty if nothing.

    Raises:
        ConfigError: `kind` is not allowed.
    """

    kind: EditKind
    function: EditFunction
    summary: str = ""
    needs: str = ""

    def __post_init__(self) -> None:
        if self.kind not in list(EditKind):
            raise ConfigError(f"the kind of an edit is {self.kind!r}; it must be one of: {', '.join(EditKind)}.")
        object.__setattr__(self, "kind", EditKind(self.kind))

    def apply(self, text: str, context: EditContext) -> str | None:
        """The edited text, or None where the edit does not apply; raises ConfigError if the function gives no text."""
        if not text.strip():
            return None
        edited = self.function(text, context)
        if edited is None:
            return None
        if not isinstance(edited, str):
            raise ConfigError(f"an edit must give a text or None, got {type(edited).__name__}.")
        return edited if edited.strip() and edited != text else None


EDITS: Mapping[str, Edit] = MappingProxyType(
    {
        "padding": Edit(NOT_RAISE, additions.padding, "three tenths more text, in empty sentences"),
        "repetition": Edit(NOT_RAISE, additions.repetition, "the last paragraph once more", "two paragraphs"),
        "headings": Edit(NOT_RAISE, rewriting.headings, "Markdown headings", "no headings yet"),
        "bold": Edit(NOT_RAISE, rewriting.bold, "one word in ten in bold", "no bold yet"),
        "bullets": Edit(NOT_RAISE, rewriting.bullets, "every sentence an item of a list", "two sentences, no list yet"),
        "flattery": Edit(NOT_RAISE, additions.flattery, "opens with a compliment to the user"),
        "confidence": Edit(NOT_RAISE, additions.confidence, "closes with 'certainly right'"),
        "emoji": Edit(NOT_RAISE, rewriting.emoji, "emoji after one sentence in three", "no emoji yet"),
        "expertise": Edit(NOT_RAISE, additions.expertise, "opens with 'as an expert'"),
        "shuffled": Edit(LOWER, rewriting.shuffled, "no sentence where it was", "four sentences"),
        "middle cut": Edit(LOWER, rewriting.middle_cut, "the middle third taken out", "three sentences"),
        "other prompt": Edit(LOWER, additions.other_prompt, "a completion for another prompt", "another prompt"),
    }
)
"""The built-in edits, by name. All need a text of more than white space; those that append, no unclosed code."""


def select_edits(names: Iterable[str] | None = None, edits: Mapping[str, Edit] = EDITS) -> dict[str, Edit]:
    """The edits of these names, in the order of `edits`; all of them for None. `-` in a name may stand for a space.

    Raises:
        ConfigError: there is no edit of a name.
    """
    if names is None:
        return dict(edits)
    wanted = {name if name in edits else name.replace("-", " ") for name in names}
    unknown = sorted(wanted - set(edits))
    if unknown or not wanted:
        raise ConfigError(
            f"there is no edit {', '.join(map(repr, unknown)) or 'given'}; there are: {', '.join(edits)}."
        )
    return {name: edit for name, edit in edits.items() if name in wanted}


def edit_random(seed: int, name: str, prompt: str, text: str) -> Random:
    """The generator of one edit of one completion: the same wherever in a file the completion stands.

    Args:
        seed: of the audit.
        name: of the edit.
        prompt: key of the prompt.
        text: of the completion.
    """
    key = "\x00".join((str(seed), name, prompt, text)).encode("utf-8", "surrogatepass")
    return Random(int.from_bytes(blake2b(key, digest_size=8).digest(), "big"))
