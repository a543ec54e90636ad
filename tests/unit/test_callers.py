"""Every public function, class and method has a caller: in the package, a study, an example or a page, not in tests.

The rule goes by names. It can miss what nobody calls, where another thing has the same name. What it lists is dead,
unless somebody outside calls it, and then it stands in `CALLED_FROM_OUTSIDE`.
"""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeAlias

import pytest

from vrm.cli.main import COMMANDS

ROOT = Path(__file__).parents[2]
FOLDERS = [ROOT / "src" / "vrm", ROOT / "studies", ROOT / "examples"]
PAGES = [
    ROOT / "README.md",
    *(page for part in ("", "how-to", "tutorial") for page in (ROOT / "docs" / part).glob("*.md")),
]
PAGES.remove(ROOT / "docs" / "reference.md")  # lists everything, from docstrings

TRAINER = "transformers.Trainer calls what its subclasses and callbacks override"
EQUATION = "an equation of the method, against which tests check what is computed in another way"
CONNECTION = "asyncio and uvicorn's parser of HTTP call what a protocol has"
CALLED_FROM_OUTSIDE = {
    "vrm.cli.main.LazyGroup.format_help": "click lists commands with it",
    "vrm.cli.main.LazyGroup.list_commands": "click lists commands with it",
    "vrm.cli.main.LazyGroup.resolve_command": "click finds commands with it",
    "vrm.core.disagreement.PairVotes.majority": EQUATION,
    "vrm.core.disagreement.PairVotes.next_vote": EQUATION,
    "vrm.core.disagreement.pair_votes_over_draws": EQUATION,
    "vrm.core.disagreement.vote_patterns": EQUATION,
    "vrm.core.predictive.probit_probability": EQUATION,
    "vrm.data.spans.SpanStream.readable": "io.BufferedReader reads through it",
    "vrm.data.spans.SpanStream.readinto": "io.BufferedReader reads through it",
    "vrm.model.modeling_vrm.VRMForSequenceClassification.initialize_weights": "transformers fills weights with it",
    "vrm.model.modeling_vrm.VRMForSequenceClassification.is_gradient_checkpointing": "PEFT asks a model for it",
    "vrm.model.modeling_vrm.VRMForSequenceClassification.set_input_embeddings": "transformers and PEFT look for it",
    "vrm.serve.bodies.JsonRoute.get_route_handler": "FastAPI asks a route for it",
    "vrm.serve.connections.GuardedProtocol.connection_lost": CONNECTION,
    "vrm.serve.connections.GuardedProtocol.connection_made": CONNECTION,
    "vrm.serve.connections.GuardedProtocol.data_received": CONNECTION,
    "vrm.serve.connections.GuardedProtocol.on_body": CONNECTION,
    "vrm.serve.connections.GuardedProtocol.on_header": CONNECTION,
    "vrm.serve.connections.GuardedProtocol.on_headers_complete": CONNECTION,
    "vrm.serve.connections.GuardedProtocol.on_message_begin": CONNECTION,
    "vrm.serve.connections.GuardedProtocol.on_url": CONNECTION,
    "vrm.serve.on_ray.Replica.check_health": "Ray Serve asks every replica for it",
    "vrm.train.callbacks.HistoryWriter.on_evaluate": TRAINER,
    "vrm.train.callbacks.ProgressBar.on_evaluate": TRAINER,
    "vrm.train.callbacks.ProgressBar.on_step_end": TRAINER,
    "vrm.train.callbacks.ProgressBar.on_train_begin": TRAINER,
    "vrm.train.callbacks.ProgressBar.on_train_end": TRAINER,
    "vrm.train.checkpoints.BestOfThisFolder.on_train_begin": TRAINER,
    "vrm.train.trainer.VRMTrainer.create_optimizer": TRAINER,
    "vrm.train.trainer.VRMTrainer.get_batch_samples": TRAINER,
    "vrm.train.trainer.VRMTrainer.prediction_step": TRAINER,
}
"""{a definition: who calls it}."""

PASSES_NOTHING_ON = {"property", "setter", "staticmethod", "classmethod", "dataclass", "contextmanager", "overload"}
PASSES_NOTHING_ON |= {"cached_property", "lru_cache", "cache", "no_grad", "inference_mode", "runtime_checkable"}
"""Decorators after which the definition still needs a caller; those of commands, routes and validators register it."""

Definition: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
Within: TypeAlias = tuple[ast.AST, ...]


def definitions(body: list[ast.stmt], owner: str) -> Iterator[tuple[str, Definition]]:
    """Public functions and classes of a module and public methods of its classes, but for those that are registered."""
    for node in body:
        if not isinstance(node, Definition) or _registered(node):
            continue
        if not node.name.startswith("_"):
            yield f"{owner}.{node.name}", node
        if isinstance(node, ast.ClassDef):
            yield from definitions(node.body, f"{owner}.{node.name}")


def _registered(node: Definition) -> bool:
    names = {ast.unparse(decorator).split("(")[0].rpartition(".")[2] for decorator in node.decorator_list}
    return bool(names - PASSES_NOTHING_ON)


def uses(tree: ast.Module) -> Iterator[tuple[str, Within]]:
    """What a module reads, each with the definitions that it stands in; attributes of objects as `.name`.

    A variable that shares a function's name is no use of it, and neither is an import or an entry of `__all__`.
    """
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    known = {alias.asname or alias.name: alias.name for node in imports for alias in node.names}
    known |= {node.name: node.name for node in tree.body if isinstance(node, Definition)}

    def walk(node: ast.AST, within: Within) -> Iterator[tuple[str, Within]]:
        if isinstance(node, ast.Name) and node.id in known:
            yield known[node.id], within
        elif isinstance(node, ast.Attribute):
            of_module = isinstance(node.value, ast.Name) and node.value.id in known
            yield from ((name, within) for name in (f".{node.attr}", *([node.attr] if of_module else [])))
        elif isinstance(node, ast.Dict):  # a table of names, such as those of the commands and of the heads
            texts = [text for value in node.values for text in ast.walk(value) if isinstance(text, ast.Constant)]
            yield from ((str(text.value), within) for text in texts)
        for child in ast.iter_child_nodes(node):
            yield from walk(child, (*within, child) if isinstance(child, Definition) else within)

    yield from walk(tree, ())


def named_in_pages(pages: Iterable[str]) -> set[str]:
    """Identifiers in the code of pages that are no ordinary words, or are called or imported there."""
    names: set[str] = set()
    for page in pages:
        for code in [*re.findall(r"```.*?```|`[^`\n]+`", page, flags=re.S), *re.findall(r"(?m)^    .+$", page)]:
            names |= set(re.findall(r"\b[a-z]+_\w+|\b[A-Z]+[a-z]+[A-Z]\w*", code)) | set(re.findall(r"(\w+)\(", code))
            names |= {
                name for line in re.findall(r"from vrm\S* import (.+)", code) for name in re.findall(r"\w+", line)
            }
    return names


def without_a_caller(trees: dict[str, ast.Module], named: Iterable[str] = ()) -> list[str]:
    """Definitions in `vrm` that nothing reads, or only what nothing reads itself; pages read what is `named`."""
    ours = {module: tree for module, tree in trees.items() if module.split(".")[0] == "vrm"}
    defined = {name: node for module, tree in ours.items() for name, node in definitions(tree.body, module)}
    readers: dict[str, list[Within]] = defaultdict(list)
    for tree in trees.values():
        for name, within in uses(tree):
            readers[name].append(within)
    for name in named:
        readers[name].append(())
    dead: dict[str, Definition] = {}
    while True:
        gone = {id(node) for node in dead.values()}
        more = {}
        for name, node in defined.items():
            owner, _, last = name.rpartition(".")
            places = readers[last] + (readers[f".{last}"] if owner not in ours else [])
            read = any(gone.isdisjoint(map(id, within)) and node not in within for within in places)
            if name not in dead and not read:
                more[name] = node
        if not more:
            return sorted(dead)
        dead |= more


def test_every_public_function_has_a_caller():
    trees = {}
    for folder in FOLDERS:
        for file in folder.rglob("*.py"):
            module = ".".join(file.relative_to(folder.parent).with_suffix("").parts)
            trees[module] = ast.parse(file.read_text(encoding="utf-8"))
    commands = {entry.function for entry in COMMANDS.values()}
    dead = without_a_caller(trees, named_in_pages(page.read_text(encoding="utf-8") for page in PAGES) | commands)
    assert [name for name in dead if name not in CALLED_FROM_OUTSIDE] == []
    assert [name for name in CALLED_FROM_OUTSIDE if name not in dead] == [], "these have a caller, or are gone"


@pytest.mark.parametrize(
    ("other", "dead"),
    [
        ("", ["vrm.a.Box", "vrm.a.Box.open", "vrm.a.called", "vrm.a.caller"]),
        ("from vrm.a import caller, Box", ["vrm.a.Box", "vrm.a.Box.open", "vrm.a.called", "vrm.a.caller"]),
        ("caller = 1\nprint(caller)", ["vrm.a.Box", "vrm.a.Box.open", "vrm.a.called", "vrm.a.caller"]),
        ("from vrm.a import caller, Box\ncaller(Box)", ["vrm.a.Box.open"]),
        ("from vrm import a\na.caller(a.Box().open)", []),
        ("T = {'x': 'caller'}\nvalue.open()", ["vrm.a.Box"]),
    ],
)
def test_the_rule_sees_what_is_dead(other, dead):
    code = "def called(): called()\ndef caller(): called()\n@app.command\ndef command(): ...\n"
    code += "class Box:\n    def open(self): ...\n"
    trees = {"vrm.a": ast.parse(code), "vrm.b": ast.parse(other)}
    assert without_a_caller(trees) == dead
    assert without_a_caller(trees, named_in_pages(["Call `caller(x)`, `Box()` and `box.open()`."])) == []
