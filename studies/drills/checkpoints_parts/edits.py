"""What people and programs do to the texts of a model directory: its configuration, its tokenizer, its template."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from studies.drills.checkpoints_parts.damage import CONFIG, TOKENIZER, Damage, change_json

INFINITE, HUGE = float("inf"), 10**9
VALUES = ["x", 5, 1.5, True, None, [], {}, [1], ["x"], {"x": 1}, {"x": "y"}, -1, 0, math.nan, INFINITE, HUGE]
"""Given to every field."""

FLOATS = (5, 1.5, -1, 0, HUGE)
POSITIVE = (5, 1.5, HUGE)
TEXTS, NONE = ("x",), (None,)
FLAGS = (True,)
HARMLESS: dict[str, tuple[Any, ...]] = {
    "backbone_kind": NONE,
    "backbone_name_or_path": (*TEXTS, *NONE),
    "head_dropout": (0,),
    "prior_concentration": POSITIVE,
    "initial_log_variance": FLOATS,
    "feature_layers": (*NONE, [], [1]),
    "poolings": (*NONE, []),
    "decoder_poolings": (*NONE, []),
    "prompt_boundary_ids": (*NONE, [], [1]),
    "guarded_template": FLAGS,
    "prompt_opening_id": (*NONE, 5, 0, -1, HUGE),
    "conversational": FLAGS,
    "max_input_tokens": (5, HUGE),
    "reward_mean": FLOATS,
    "reward_std": POSITIVE,
    "rating_mean": (*NONE, {}, {"x": 1}),
    "rating_std": (*NONE, {}, {"x": 1}),
    "objectives_with_votes": (*NONE, [], ["x"]),
    "objectives_with_ratings": (*NONE, [], ["x"]),
    "nuisance": (*NONE, {}, {"x": 1}, {"x": "y"}),
    "models_ties": FLAGS,
    "learned_disagreement": FLAGS,
    "stage_parts": (*NONE, []),
    "familiar_components": (0,),
    "familiar_categories": (*NONE, {}, {"x": 1}),
    "text_digests": (*NONE, {}, {"x": "y"}),
}
"""By field: the values that are allowed, and change at most what the model was set to."""


def fields_of_the_model() -> Iterator[Damage]:
    """Every field of this package's configuration with every value, and names that are nearly a field's."""
    from vrm.model.configuration_vrm import VRMConfig

    code = VRMConfig.__init__.__code__
    for field in code.co_varnames[2 : code.co_argcount]:
        for value in VALUES:
            allowed = any(_same(value, other) for other in HARMLESS.get(field, ()))
            yield Damage(
                f"{field}: {value!r}",
                _set(field, value),
                (field, "weights its configuration promises"),
                harmless=allowed,
            )
        yield Damage(f"{field[:-1]}: 5", _set(field[:-1], 5), (field,))


def _same(value: Any, other: Any) -> bool:
    return type(value) is type(other) and value == other


def _set(field: str, value: Any) -> Callable[[Path], object]:
    return lambda folder: change_json(folder / CONFIG, **{field: value})


def fields_of_the_backbone(model: Path) -> Iterator[Damage]:
    """Every field of the backbone's configuration with values of other types; what it is to hold is its own matter."""
    stored = json.loads((model / CONFIG).read_text(encoding="utf-8"))["backbone_config"]
    for field, before in stored.items():
        for value in ("x", 1.5, None, [], {"x": 1}, -1, 0):
            change = _set("backbone_config", {**stored, field: value})
            yield Damage(f"backbone_config.{field}: {value!r} for {before!r:.20}", change, ("",), harmless=True)


def other_tokenizers(model: Path, sibling: Path) -> Iterator[Damage]:
    """Another tokenizer or template, most of them of the same size."""

    def edit(name: str, change: Callable[[dict[str, Any]], object], file: str = TOKENIZER) -> Damage:
        def apply(folder: Path) -> None:
            stored = json.loads((folder / file).read_text(encoding="utf-8"))
            change(stored)
            (folder / file).write_text(json.dumps(stored), encoding="utf-8")

        return Damage(name, apply, ("tokenizer", "template"))

    def permuted(stored: dict[str, Any], shift: int) -> None:
        vocabulary = stored["model"]["vocab"]
        tokens = [token for token in vocabulary if len(token) == 1]
        keys = [vocabulary[token] for token in tokens]
        vocabulary.update(zip(tokens, keys[shift:] + keys[:shift], strict=True))

    for shift in (1, 7, 40):
        yield edit(f"ids permuted by {shift}", lambda stored, shift=shift: permuted(stored, shift))
    yield edit(
        "two ids exchanged",
        lambda stored: stored["model"]["vocab"].update(
            a=stored["model"]["vocab"]["e"], e=stored["model"]["vocab"]["a"]
        ),
    )
    yield edit("no merges", lambda stored: stored["model"].update(merges=[]))
    yield edit("half of the merges", lambda stored: stored["model"].update(merges=stored["model"]["merges"][::2]))
    yield edit("lower case", lambda stored: stored.update(normalizer={"type": "Lowercase"}))
    yield edit("accents stripped", lambda stored: stored.update(normalizer={"type": "NFKC"}))
    yield edit("another splitting", lambda stored: stored.update(pre_tokenizer={"type": "Whitespace"}))
    yield edit("no vocabulary", lambda stored: stored["model"].update(vocab={}))
    yield edit("a vocabulary of texts", lambda stored: stored["model"].update(vocab={"a": "b"}))
    yield edit("added tokens gone", lambda stored: stored.update(added_tokens=[]))
    yield edit("another kind of model", lambda stored: stored["model"].update(type="WordLevel"))
    yield from _other_files(model, sibling)


def _other_files(model: Path, sibling: Path) -> Iterator[Damage]:
    for name in (TOKENIZER, "tokenizer_config.json"):
        yield Damage(
            f"{name} of another model",
            lambda folder, name=name: (folder / name).write_bytes((sibling / name).read_bytes()),
            ("tokenizer", "template"),
            allowed=name != TOKENIZER,
        )
        for content in ("", "{", "[]", "5", '{"a": 1, "a": 2}', "\x00"):
            yield Damage(
                f"{name} is {content!r}",
                lambda folder, name=name, content=content: (folder / name).write_text(content),
                ("tokenizer", "template"),
                allowed=name != TOKENIZER,
            )
        yield Damage(
            f"no {name}",
            lambda folder, name=name: (folder / name).unlink(),
            ("tokenizer", "template"),
            allowed=name != TOKENIZER,
        )
    template = (model / "chat_template.jinja").read_text(encoding="utf-8")
    others = {
        "empty": "",
        "of texts alone": "{{ messages[0].content }}",
        "with a space more": template + " ",
        "of another model": "[INST] {{ messages[0].content }} [/INST]",
        "with an open brace": template + "{{",
        "that raises": "{{ raise_exception('no') }}",
        "without end": "{% for i in range(10**9) %}x{% endfor %}",
        "of HTML": "<!doctype html>",
    }
    for name, text in others.items():
        yield Damage(
            f"a template {name}",
            lambda folder, text=text: (folder / "chat_template.jinja").write_text(text),
            ("template",),
        )
    yield Damage("no template", lambda folder: (folder / "chat_template.jinja").unlink(), ("template",))
