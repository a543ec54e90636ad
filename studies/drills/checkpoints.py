"""Drill: damaged and foreign model directories, adapters and checkpoints of runs, through what loads them."""

from __future__ import annotations

import logging
import os
import random
import shutil
import signal
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import chain
from pathlib import Path

from studies.drills.checkpoints_parts.adapters import adapter_model, resume_each
from studies.drills.checkpoints_parts.damage import (
    CONFIG,
    TOKENIZER,
    WEIGHTS,
    Damage,
    indexes,
    links,
    pickles,
    remote_code,
    tensors,
    whole_files,
)
from studies.drills.checkpoints_parts.edits import fields_of_the_backbone, fields_of_the_model, other_tokenizers
from studies.drills.checkpoints_parts.loading import ANSWERS, PROMPT, by_auto_model, by_engine, try_each
from studies.drills.checkpoints_parts.models import reward_model
from studies.drills.forked import in_child, vrm
from studies.drills.outcome import Drill, Outcome, Setting
from studies.drills.pieces import in_pieces
from studies.drills.rows_parts.reading import Tally

ADAPTER = "adapter_model.safetensors"
LINKED = (CONFIG, WEIGHTS, TOKENIZER, "tokenizer_config.json", "chat_template.jinja")
HEADS = ("vrm", "bt", "gated", "bayes")


class _Parts:
    """What the lines of the table need, and how each is made."""

    def __init__(self, work: Path, setting: Setting) -> None:
        self.work, self.quick = work, setting.quick
        self.rng, self.marker = random.Random(setting.seed), self.work / "marker"
        (self.work / "copies").mkdir()
        self.model = reward_model(self.work)

    def _few(self, damages: Iterable[Damage], most: int = 4) -> list[Damage]:
        """All of them, or at a toy size a few."""
        listed = list(damages)
        return self.rng.sample(listed, min(most, len(listed))) if self.quick else listed

    def _engine(self, model: Path, damages: Iterable[Damage], tally: Tally) -> None:
        try_each(model, self._few(damages), by_engine, self.work / "copies", self.marker, tally)

    def heads(self, tally: Tally) -> None:
        """Tensors of models with every head, on a decoder and an encoder."""
        for kind, head in [("decoder", head) for head in HEADS] + [("encoder", "vrm")]:
            model = reward_model(self.work, kind, head)
            self._engine(model, tensors(model), tally)

    def files(self, tally: Tally) -> None:
        """Weights as a file."""
        self._engine(self.model, whole_files(self.model, WEIGHTS, 40, self.rng), tally)

    def fields(self, tally: Tally) -> None:
        """Our configuration."""
        self._engine(self.model, fields_of_the_model(), tally)

    def backbones(self, tally: Tally) -> None:
        """The backbone's configuration."""
        self._engine(self.model, fields_of_the_backbone(self.model), tally)

    def tokenizers(self, tally: Tally) -> None:
        """Tokenizers and templates."""
        self._engine(self.model, other_tokenizers(self.model, reward_model(self.work, "encoder")), tally)

    def foreign(self, tally: Tally) -> None:
        """Pickles, code, links, indexes."""
        linked: Iterator[Damage] = chain.from_iterable(map(links, LINKED))
        others = chain(pickles(self.model, self.marker), remote_code(self.marker), indexes(self.model), linked)
        self._engine(self.model, others, tally)

    def adapters(self, tally: Tally) -> None:
        """A directory of adapters."""
        model = adapter_model(self.work)
        damages = [*tensors(model, ADAPTER), *whole_files(model, ADAPTER, 20, self.rng)]
        self._engine(model, [*damages, *pickles(model, self.marker, ADAPTER)], tally)

    def auto(self, tally: Tally) -> None:
        """The Auto class of transformers, with our class and with the exported code."""
        from vrm.export.directory import write_model

        exported = self.work / "exported"
        write_model(self.model, exported, remote_code=True)
        copies = self.work / "copies"
        for model in (self.model, exported):
            damages = [*tensors(model), *whole_files(model, WEIGHTS, 10, self.rng), *pickles(model, self.marker)]
            ours = model == self.model
            try_each(model, self._few(damages), by_auto_model, copies, self.marker, tally, named=ours)

    def commands(self, tally: Tally) -> None:
        """`vrm score` and `vrm serve`, in processes of their own."""
        damages = [
            *tensors(self.model), *whole_files(self.model, WEIGHTS, 5, self.rng), *pickles(self.model, self.marker),
            *remote_code(self.marker), *links(WEIGHTS),
            *other_tokenizers(self.model, reward_model(self.work, "encoder")),
        ]  # fmt: skip
        refused = [damage for damage in damages if not damage.allowed]
        rows = self.work / "rows.jsonl"
        rows.write_text(f'{{"prompt": "{PROMPT}", "completion": "{ANSWERS[0]}"}}\n', encoding="utf-8")
        for number, damage in enumerate(self.rng.sample(refused, 2 if self.quick else 60)):
            folder = self.work / "copies" / self.model.name
            shutil.rmtree(folder, ignore_errors=True)
            shutil.copytree(self.model, folder)
            damage.apply(folder)
            output = self.work / "scores.jsonl"
            score = ["score", folder, rows, "-o", output, "--overwrite"]
            self._command(damage, score if number % 2 else ["serve", folder, "--port", "0"], output, tally)

    def _command(self, damage: Damage, arguments: Sequence[object], output: Path, tally: Tally) -> None:
        def command() -> None:
            signal.alarm(60)
            vrm(arguments)

        tally.tries += 1
        code = in_child(command, self.work / "words")
        err = (self.work / "words.err").read_text(encoding="utf-8", errors="replace")
        tally.refused += code == 1
        named = any(word in err for word in damage.words)
        if code != 1 or "Traceback" in err or not named or output.exists() or self.marker.exists():
            tally.fault(f"{arguments[0]}, {damage.name}: exit status {code}, {err.strip()[-200:]}")
        output.unlink(missing_ok=True)
        self.marker.unlink(missing_ok=True)

    def resume(self, tally: Tally) -> None:
        """Checkpoints of a run."""
        resume_each(self.work, self.marker, tally, self.rng, 2 if self.quick else 99)


LINES: dict[str, Callable[[_Parts, Tally], None]] = {
    "a tensor absent, renamed, reshaped, added, NaN or infinite; every head": _Parts.heads,
    "weights cut, with a bit changed, of another kind": _Parts.files,
    "every field of the model's configuration, 16 values, and its name": _Parts.fields,
    "every field of the backbone's configuration, 7 values": _Parts.backbones,
    "another tokenizer or template, most of the same size": _Parts.tokenizers,
    "pickles, code of the directory, links, indexes": _Parts.foreign,
    "a directory of adapters: tensors, files, pickles": _Parts.adapters,
    "`AutoModel...from_pretrained`, with our class and the exported code": _Parts.auto,
    "`vrm score` and `vrm serve`": _Parts.commands,
    "`vrm train --resume`, every file of the last checkpoint": _Parts.resume,
}


def run(setting: Setting) -> Sequence[Outcome]:
    """Everything."""
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    os.environ["HF_MODULES_CACHE"] = str(setting.work.absolute() / "modules")
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return in_pieces(setting, {name: partial(_line, setting, do) for name, do in LINES.items()})
    finally:
        logging.disable(logging.NOTSET)


def _line(setting: Setting, do: Callable[[_Parts, Tally], None], folder: Path, tally: Tally) -> None:
    do(_Parts(folder, setting), tally)


DRILL = Drill("Checkpoints", run)
