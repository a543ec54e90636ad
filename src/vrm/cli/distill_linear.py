"""`vrm distill-linear`: a plain backbone and score layer that imitates a reward model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vrm.choices import OnOverlong, StudentTuning
from vrm.cli import options
from vrm.cli.checks import check_arguments
from vrm.cli.console import Meter, note, print_json, results
from vrm.errors import DataError
from vrm.files import check_new_directory

if TYPE_CHECKING:
    from vrm.data.load import Source
    from vrm.data.schema import Judgment
    from vrm.inference.engine import RewardEngine
    from vrm.metrics import Agreement
    from vrm.results.distillation import DistillationDocument, Teacher
    from vrm.train.distill import FineTuning
    from vrm.train.student import StudentExample

_Teacher = Annotated[str, typer.Argument(metavar="TEACHER", callback=options.home, help=options.A_MODEL)]
_Sources = Annotated[
    list[str],
    typer.Argument(metavar="DATA...", help="Prompts with completions, as for `vrm score`; labels are not read."),
]
_Output = Annotated[Path, typer.Option("-o", "--output", metavar="DIR", help="Directory of the student.")]
_Tuning = Annotated[
    StudentTuning, typer.Option("--tuning", help="The score layer by ridge regression, or all weights after that.")
]
_Epochs = Annotated[int | None, typer.Option("--epochs", min=1, help="Of --tuning full [default: 3].")]
_BatchSize = Annotated[
    int | None, typer.Option("--batch-size", min=1, help="Of --tuning full, completions [default: 16].")
]
_LearningRate = Annotated[float | None, typer.Option("--learning-rate", help="Of --tuning full [default: 5e-05].")]
_HeldOut = Annotated[
    float, typer.Option("--held-out", min=0.0, max=0.9, help="Share of prompts kept for measuring the agreement.")
]
_Seed = Annotated[int, typer.Option("--seed", min=0, help="Of the split, of fresh layers and of the order of steps.")]


def distill_linear(
    teacher: _Teacher,
    sources: _Sources,
    output: _Output,
    tuning: _Tuning = StudentTuning.HEAD,
    epochs: _Epochs = None,
    batch_size: _BatchSize = None,
    learning_rate: _LearningRate = None,
    held_out: _HeldOut = 0.1,
    seed: _Seed = 0,
    recipe: options.RecipeOption = None,
    column: options.ColumnOption = None,
    license_id: options.LicenseOption = None,
    overwrite: options.ReplaceModelOption = False,
    as_json: options.JsonFlag = False,
    device: options.DeviceOption = "auto",
    threads: options.ThreadsOption = None,
) -> None:
    """Fit a plain classifier of the backbone's own architecture to a model's mean rewards.

    For loaders that know a backbone and a linear layer only (vLLM, SGLang, OpenRLHF). Prints how well it agrees with
    its teacher on held-out prompts and stores that in distillation.json and the model card. Uncertainty, weights and
    steering are lost.
    """
    given = {"epochs": epochs, "batch_size": batch_size, "learning_rate": learning_rate}
    chosen = {name: value for name, value in given.items() if value is not None}
    if tuning == StudentTuning.HEAD and chosen:
        option = f"--{next(iter(chosen)).replace('_', '-')}"
        raise typer.BadParameter("it is of --tuning full; the head alone is fitted in closed form", param_hint=option)
    if held_out == 0.0:
        raise typer.BadParameter("without held-out prompts the agreement cannot be measured", param_hint="--held-out")
    check_arguments(teacher, sources=sources, device=device)
    check_new_directory(output, source=teacher, overwrite=overwrite)
    given = options.RowOptions(recipe, options.columns(column))
    rows = _read([given.source(source) for source in sources])
    engine = options.load_engine(teacher, device=device, on_overlong=OnOverlong.DROP)
    from vrm.export.directory import new_directory
    from vrm.results import to_text
    from vrm.train.distill import FineTuning

    settings = FineTuning(seed=seed, **chosen) if tuning == StudentTuning.FULL else None
    with new_directory(output, source=teacher, overwrite=overwrite) as directory:
        document = _distill(engine, teacher, rows, directory, held_out, seed, settings)
        document = replace(document, license=license_id)
        _write(directory, output, document)
    if as_json:
        print_json(to_text(document))
    else:
        _print(document, output)


def _read(sources: Sequence[Source]) -> list[Judgment]:
    from vrm.inference.score import read_scoring_rows

    judgments = []
    with Meter("reading") as meter:
        for source in sources:
            meter.update(str(source.path))
            for row in read_scoring_rows(source):
                if row.judgment is None:
                    assert row.error is not None
                    raise row.error
                judgments.append(row.judgment)
    return judgments


def _distill(
    engine: RewardEngine,
    teacher: str,
    rows: list[Judgment],
    directory: Path,
    held_out: float,
    seed: int,
    settings: FineTuning | None,
) -> DistillationDocument:
    """Fit a student and write its weights and tokenizer; what `distillation.json` is to hold."""
    from vrm.data.splits import split_by_prompt
    from vrm.export.directory import hub_name, make_tokenizer_portable
    from vrm.results.base import versions
    from vrm.results.distillation import DistillationDocument, StudentRows
    from vrm.train.distill import fine_tune, fit_score_layer
    from vrm.train.student import build_student, choose_pad_token, fresh_parameters

    tokenizer = engine.tokenizer
    train, test = (_examples(engine, part) for part in split_by_prompt(rows, held_out, seed))
    for part, kind in ((train, "training"), (test, "held-out")):
        if not part:
            raise DataError(f"no {kind} rows remain: {engine.report.render()}; give more rows, or another --held-out")
    if choose_pad_token(tokenizer, [*train, *test]):
        note(f"the student pads with {tokenizer.pad_token}: texts end with the token that its teacher pads with")
    student = build_student(engine.model, tokenizer, seed).to(engine.model.device)
    with Meter("fitting the score layer"):
        penalty = fit_score_layer(student, tokenizer, train).penalty
    if settings is not None:
        with Meter("fine-tuning") as meter:
            fine_tune(student, tokenizer, train, settings, lambda done, total: meter.update(f"step {done} of {total}"))
    student.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    make_tokenizer_portable(directory)
    fitted = {"ridge_penalty": penalty} if settings is None else vars(settings)
    config = engine.model.config
    return DistillationDocument(
        teacher=_teacher(engine, teacher, test),
        backbone=hub_name(config.backbone_name_or_path),
        conversational=config.conversational,
        max_input_tokens=config.max_input_tokens,
        versions=versions(),
        architecture=type(student).__name__,
        tuning=StudentTuning.HEAD if settings is None else StudentTuning.FULL,
        fresh_parameters=tuple(fresh_parameters(student)),
        settings={"seed": seed, "held_out": held_out, **fitted},
        rows=StudentRows(_count(train), _count(test), engine.report.dropped),
        agreement=_agreement(directory, tokenizer, test),
    )


def _teacher(engine: RewardEngine, teacher: str, test: list[StudentExample]) -> Teacher:
    import torch

    from vrm.model.checkpoint import weights_sha256
    from vrm.results.distillation import Teacher

    return Teacher(
        name=options.short_name(teacher),
        sha256=weights_sha256(teacher),
        head=engine.model.config.head,
        reward_std=float(torch.tensor([example.reward for example in test]).std()) if len(test) > 1 else 0.0,
    )


def _examples(engine: RewardEngine, rows: list[Judgment]) -> list[StudentExample]:
    """The teacher's `.logits` for rows that it reads whole, with the ids that a plain loader makes of them."""
    from vrm.inference.rewards import RewardView
    from vrm.train.student import StudentExample, loader_ids, loader_texts

    config = engine.model.config
    conversational = config.conversational
    view = RewardView(config)
    examples = []
    with Meter("teacher") as meter:
        position = 0
        for batch in engine.stream(rows):
            for judgment, rewards in zip(batch.judgments, view(batch).mean, strict=True):
                for text, reward in zip(loader_texts(engine.tokenizer, judgment, conversational), rewards.tolist()):
                    forms = loader_ids(engine.tokenizer, text, conversational)
                    examples.append(StudentExample(forms, reward, position))
                position += 1
            meter.update(f"{position} of {len(rows)} rows")
    return examples


def _count(examples: list[StudentExample]) -> int:
    return len({example.judgment for example in examples})


def _agreement(directory: Path, tokenizer: Any, test: list[StudentExample]) -> dict[str, Agreement]:
    """Of the student as it is loaded, on each form of the held-out texts."""
    from transformers import AutoModelForSequenceClassification

    from vrm.export.student_card import FORMS
    from vrm.metrics import reward_agreement
    from vrm.train.student import student_outputs

    loaded = AutoModelForSequenceClassification.from_pretrained(directory).eval()
    given, groups = [example.reward for example in test], [example.judgment for example in test]
    agreement = {}
    with Meter("agreement of student and teacher:") as meter:
        for position, name in enumerate(FORMS):
            if all(len(example.forms) > position for example in test):
                meter.update(name)
                rewards = student_outputs(loaded, tokenizer, [example.forms[position] for example in test])[:, 0]
                agreement[name] = reward_agreement(given, rewards, groups)
    return agreement


def _write(directory: Path, output: Path, document: DistillationDocument) -> None:
    from vrm.export.student_card import student_card
    from vrm.results import to_text

    (directory / "distillation.json").write_text(to_text(document), encoding="utf-8")
    (directory / "README.md").write_text(student_card(output.resolve().name, document), encoding="utf-8")


def _print(document: DistillationDocument, output: Path) -> None:
    from vrm.export.student_card import AGREEMENT_HEAD, agreement_rows
    from vrm.results.formats import table

    rows = document.rows
    title = f"{document.architecture} against its teacher, on {rows.held_out:,} held-out rows"
    agreement = table(title, AGREEMENT_HEAD, wrap=True)
    for line in agreement_rows(document.agreement):
        agreement.add_row(*line)
    console = results()
    console.print(agreement)
    console.print(f"the teacher's rewards there have a standard deviation of {document.teacher.reward_std:.3f}")
    if rows.overlong:
        note(f"{rows.overlong:,} rows over {document.max_input_tokens:,} tokens were left out")
    console.print(f"model {output}", markup=False, soft_wrap=True)
