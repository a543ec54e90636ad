"""How reading, checking, tokenizing, scoring and the doctor grow with rows: time, memory and disk.

    python -m studies.scale.rows --rows 10000 100000 --tasks train score doctor --directory /tmp/rows

Rows are generated: 2 KB each, a prompt and two completions of English words, one in a thousand bad. Each task is the
command itself in a process of its own, on a toy backbone of random weights, since the data is what is measured. Its
tokenizer has one token a word and is fast; `--tokenizer embedded` takes that of the embedded backbone.

    train   `vrm train` on every weight of the backbone, 20 steps; once with an empty cache, and once more
    frozen  `vrm train` on cached features of the backbone; twice as well
    score   `vrm score` from Parquet parts to Parquet parts, with the model of a `train` before it
    doctor  `vrm doctor`

`--limit` ends a task after so many seconds; its memory until then is reported. With `--go-on` the next one finds the
caches of the one before.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from studies.scale.curves import table
from studies.scale.measured import keep, measured

WORDS_A_SENTENCE = 16
SENTENCES = 20_000
LENGTHS = (2, 9, 9)
"""Sentences of a prompt and of its two completions."""

BAD_EVERY = 1000
STEPS, BATCH = 20, 64
PARTS = 8


def generated(count: int, seed: int = 0) -> Iterator[dict[str, str]]:
    """Rows of 2 KB."""
    generator = random.Random(seed)
    words = [word for word in _words() if word.isalpha() and len(word) > 2]
    sentences = [" ".join(generator.choices(words, k=WORDS_A_SENTENCE)) for _ in range(SENTENCES)]
    for number in range(count):
        texts = [" . ".join(generator.choices(sentences, k=length)) for length in LENGTHS]
        prompt, chosen, rejected = texts[0], texts[1], texts[2 if number % BAD_EVERY else 1]
        yield {"prompt": f"{prompt} {_spelled(number, words)} ?", "chosen": chosen, "rejected": rejected}


def _spelled(number: int, words: Sequence[str]) -> str:
    """A number in words, so that no two prompts are the same."""
    return " ".join(words[number // 1000**place % 1000] for place in range(3))


def word_tokenizer(place: Path) -> Path:
    """A directory with a tokenizer of one token a word."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    words = [*special.values(), *(word for word in _words() if word not in special.values())]
    model = models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="[UNK]")
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special).save_pretrained(place / "words")
    return place / "words"


def _words() -> list[str]:
    from vrm.model.checkpoint import load_tokenizer

    return sorted(load_tokenizer("embedded").get_vocab())


def write_rows(path: Path, count: int) -> None:
    """A JSONL file of generated rows."""
    if path.exists():
        return
    with path.with_suffix(".new").open("w", encoding="utf-8") as file:
        for row in generated(count):
            file.write(json.dumps(row) + "\n")
    path.with_suffix(".new").rename(path)


def write_parts(source: Path, count: int) -> None:
    """A directory of Parquet parts, beside the file of rows, with the good ones of them."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    parts = source.with_suffix("")
    if parts.exists():
        return
    new = source.with_suffix(".parts")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir()
    with source.open(encoding="utf-8") as file:
        rows = (json.loads(line) for line in file)
        for part in range(PARTS):
            numbers = range(part * count // PARTS, (part + 1) * count // PARTS)
            good = [row for number, row in zip(numbers, rows) if number % BAD_EVERY]
            pq.write_table(pa.Table.from_pylist(good), new / f"part-{part:05d}.parquet")
    new.rename(parts)


def command(task: str, rows: int, source: Path, place: Path, tokenizer: str) -> list[str]:
    """The arguments of `vrm` for a task."""
    output = str(place / f"{task}-{rows}")
    if task in ("train", "frozen"):
        backbone = place / "toy.json"
        shape = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
        backbone.write_text(json.dumps({"model_type": "bert", "max_position_embeddings": 512, **shape}))
        # Few rows are held out: evaluating on a tenth of them is not what is measured.
        settings = {
            "output_dir": output,
            "data": {"train": [str(source)], "on_bad_rows": "skip", "storage": "disk", "held_out": 500 / rows},
            "model": {"backbone": "embedded", "from_scratch": str(backbone), "tokenizer": tokenizer},
            "train": {"batch_size": BATCH, "evals": 1, "epochs": STEPS * BATCH / rows, "precision": "float32"},
        }
        settings["model"]["tuning"] = "full" if task == "train" else "frozen"
        if task == "frozen":
            settings["train"]["epochs"] = 1
            settings["train"]["batch_size"] = 1024
            settings["features"] = {"cache": str(place / "caches" / "features")}
        config = place / f"{task}-{rows}.yaml"
        config.write_text(json.dumps(settings))
        return ["train", str(config), "--overwrite"]
    if task == "score":
        shutil.rmtree(output, ignore_errors=True)
        return ["score", str(place / "model"), str(source.with_suffix("")), "-o", output + "/"]
    return ["doctor", str(source), "--tokenizer", tokenizer, "--json", output + ".json", "--overwrite"]


def main() -> None:
    """Parse arguments, run, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[1000, 10_000])
    parser.add_argument("--tasks", nargs="+", choices=["train", "frozen", "score", "doctor"], default=["train"])
    parser.add_argument("--directory", type=Path, required=True, help="for rows, caches and outputs")
    parser.add_argument("--tokenizer", choices=["words", "embedded"], default="words")
    parser.add_argument("--limit", type=float, default=3600.0, help="seconds of a task")
    parser.add_argument("--go-on", action="store_true", help="with the caches that are there")
    parser.add_argument("--results", type=Path, help="JSON lines, to which the runs are added")
    options = parser.parse_args()
    options.directory.mkdir(parents=True, exist_ok=True)
    tokenizer = str(word_tokenizer(options.directory)) if options.tokenizer == "words" else options.tokenizer
    runs = []
    for rows in options.rows:
        source = options.directory / f"{rows}.jsonl"
        write_rows(source, rows)
        for task in options.tasks:
            if task == "score":
                write_parts(source, rows)
            if not options.go_on:
                shutil.rmtree(options.directory / "caches", ignore_errors=True)
            for again in ("", ", again") if task in ("train", "frozen") else ("",):
                arguments = command(task, rows, source, options.directory, tokenizer)
                run = measured(task, rows, arguments, options.directory, options.limit)
                runs.append(replace(run, task=task + again))
                keep(runs[-1], options.results)
            if task == "train" and not (options.directory / "model").exists():
                shutil.copytree(options.directory / f"train-{rows}" / "model", options.directory / "model")
    print(table(runs))


if __name__ == "__main__":
    main()
