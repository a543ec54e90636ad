"""`--column` and `--recipe sharegpt` in every command that reads rows, and errors that name both."""

from __future__ import annotations

import json

import pytest

from vrm.cli.main import main

ROWS = [
    {"prompt": f"What is {n} plus {n}?", "chosen": f"It is {2 * n}, of course.", "rejected": f"I think {n + 3}."}
    for n in range(1, 9)
]
NAMES = {"prompt": "question", "chosen": "better", "rejected": "worse"}
COLUMNS = [part for ours, theirs in NAMES.items() for part in ("--column", f"{ours}={theirs}")]
FAST = ("--resamples", "50")


@pytest.fixture(scope="session")
def files(tmp_path_factory):
    directory = tmp_path_factory.mktemp("columns")
    bon = [{"q": row["prompt"], "answers": [row["chosen"], row["rejected"]], "truth": [1, 0]} for row in ROWS]
    tables = {
        "plain": ROWS,
        "named": [{NAMES[name]: text for name, text in row.items()} for row in ROWS],
        "half": [{"prompt": row["prompt"], "better": row["chosen"], "worse": row["rejected"]} for row in ROWS],
        "bon": bon,
        "sharegpt": [
            {
                "conversations": [{"from": "human", "value": row["prompt"]}],
                "chosen": {"from": "gpt", "value": row["chosen"]},
                "rejected": {"from": "gpt", "value": row["rejected"]},
            }
            for row in ROWS
        ],
    }
    for name, rows in tables.items():
        (directory / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return {name: directory / f"{name}.jsonl" for name in tables}


def run(*arguments, code=0):
    with pytest.raises(SystemExit) as stop:
        main([str(argument) for argument in arguments])
    assert (stop.value.code or 0) == code


def commands(model, file):
    """Each command that reads judgments, without its options."""
    return {
        "doctor": ("doctor", file),
        "evaluate": ("evaluate", model, file, *FAST),
        "compare": ("compare", model, model, file, *FAST),
        "audit": ("audit", model, file, *FAST),
    }


@pytest.mark.parametrize("command", ["doctor", "evaluate", "compare", "audit"])
def test_columns_are_named_and_the_error_says_how(tiny_model_dir, files, command, capsys):
    run(*commands(tiny_model_dir, files["plain"])[command], "--json", "-")
    plain = json.loads(capsys.readouterr().out)
    run(*commands(tiny_model_dir, files["named"])[command], *COLUMNS, "--json", "-")
    named = json.loads(capsys.readouterr().out)
    if command == "doctor":
        assert named["files"]["named"]["usable"] == plain["files"]["plain"]["usable"] == len(ROWS)
    else:
        assert named["settings"]["columns"] == NAMES
        assert plain["settings"]["columns"] == {}
        for document, file in ((named, "named"), (plain, "plain")):
            if command == "audit":
                assert document["pairs"] == len(ROWS)
            else:
                assert document["files"][str(files[file])]["data"]["good"] == {file: len(ROWS)}
    for file, named_so in (
        ("named", "prompt=question --column chosen=better --column rejected=worse"),
        ("half", "chosen=better"),
    ):
        run(*commands(tiny_model_dir, files[file])[command], code=1)
        out, err = capsys.readouterr()
        text = " ".join((out + err).replace("│", " ").split())
        assert f"--column {named_so}" in text
        assert "'better'" in text


@pytest.mark.parametrize("command", ["doctor", "evaluate", "compare", "audit"])
def test_rows_of_sharegpt_are_read_by_their_recipe_which_the_error_names(tiny_model_dir, files, command, capsys):
    run(*commands(tiny_model_dir, files["sharegpt"])[command], "--recipe", "sharegpt")
    run(*commands(tiny_model_dir, files["sharegpt"])[command], code=1)
    out, err = capsys.readouterr()
    if command != "doctor":
        assert "sharegpt" in out + err


def test_best_of_n_takes_columns_too(tiny_model_dir, files, capsys):
    columns = ("--column", "prompt=q", "--column", "completions=answers", "--column", "gold=truth")
    run("evaluate", tiny_model_dir, f"bon={files['bon']}", *columns, *FAST, "--json", "-")
    document = json.loads(capsys.readouterr().out)
    assert document["benchmarks"]["bon"]["data"]["examples"] == len(ROWS)


@pytest.mark.usefixtures("hub_may_be_asked")
@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (("--column", "chosen"), 2, "not of the form NAME=COLUMN"),
        (("--column", "choosen=better"), 1, "Did you mean 'chosen'?"),
        (("--column", "chosen=better", "--recipe", "sharegpt"), 1, "give 'recipe' or 'mapping'"),
        (("--column", "chosen=best"), 1, "no row has it"),
    ],
)
def test_wrong_columns_are_found_before_a_model_is_loaded(files, capsys, options, code, message):
    run("evaluate", "absent/model", files["named"], *options, code=code)
    assert message in " ".join(capsys.readouterr().err.replace("│", " ").split())


@pytest.mark.usefixtures("hub_may_be_asked")
def test_columns_that_no_input_has_are_refused(files, capsys):
    run("evaluate", "absent/model", f"rewardbench={files['plain']}", "--column", "chosen=better", code=2)
    assert "it is of files of judgments and bon" in " ".join(capsys.readouterr().err.replace("│", " ").split())


def test_a_row_to_be_scored_says_what_it_has(tiny_model_dir, files, capsys):
    run("score", tiny_model_dir, files["half"], code=1)
    assert "Not read: 'better', 'worse'" in capsys.readouterr().err
    run("explain", tiny_model_dir, files["named"], code=1)
    assert "--column" in capsys.readouterr().err
