"""`vrm export`: a model directory for others, with a card."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vrm.choices import StoredDtype
from vrm.cli import options
from vrm.cli.checks import check_model
from vrm.cli.console import Meter, note, quiet_libraries, results
from vrm.errors import DataError
from vrm.files import check_new_directory

_Directory = Annotated[Path, typer.Argument(metavar="DIR", help="Directory to write.")]
_RemoteCode = Annotated[
    bool,
    typer.Option("--remote-code", help="Add the modeling code, for trust_remote_code=True where vrm is not installed."),
]
_Dtype = Annotated[
    StoredDtype | None,
    typer.Option("--dtype", help="Of the backbone's weights; the head stays float32. Default: as they are stored."),
]
_Results = Annotated[
    list[Path] | None,
    typer.Option(
        "--results",
        metavar="FILE.json",
        help="What `vrm evaluate --json` wrote about MODEL, for the card; may be repeated.",
    ),
]


def export(
    model: options.ModelArgument,
    directory: _Directory,
    remote_code: _RemoteCode = False,
    dtype: _Dtype = None,
    result_files: _Results = None,
    license_id: options.LicenseOption = None,
    overwrite: options.ReplaceModelOption = False,
) -> None:
    """Write a model directory for others: adapters merged, tokenizer and chat template, and a model card.

    The card (README.md) is filled from `run.json` beside MODEL and from --results; what they do not say is called
    unknown there.
    """
    check_model(model)
    check_new_directory(directory, source=model, overwrite=overwrite)
    for file in result_files or []:
        if not file.is_file():
            raise DataError(f"--results: {file}: no such file")
    quiet_libraries()
    from vrm.export.card import CardFacts, model_card, read_results, read_run_beside
    from vrm.export.directory import backbone_name, new_directory, write_model

    run, files = read_run_beside(model), result_files or []
    # Weights of a Hub model can be hashed once they are here; a wrong file beside a local one is found at once.
    measured = read_results(files, model) if Path(model).is_dir() else None
    with new_directory(directory, source=model, overwrite=overwrite) as target:
        with Meter(f"exporting {model}"):
            exported = write_model(model, target, remote_code=remote_code, dtype=dtype)
        measured = read_results(files, model) if measured is None else measured
        facts = CardFacts(
            name=directory.resolve().name,
            model=exported,
            backbone=backbone_name(model),
            remote_code=remote_code,
            run=run,
            results=measured,
            license=license_id,
            rounded_to=dtype if dtype != StoredDtype.FLOAT32 else None,
        )
        (target / "README.md").write_text(model_card(facts), encoding="utf-8")
    if run is None:
        note(f"no run.json beside {model}: the card calls its training data unknown")
    console = results()
    for file in sorted(directory.iterdir()):
        console.print(f"{file.stat().st_size:>12,}  {file.name}", markup=False)
    console.print(f"model {directory}", markup=False, soft_wrap=True)
