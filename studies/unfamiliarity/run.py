"""Unfamiliarity (17), section 6 of docs/evidence.md. Prints tables and keeps every number.

    python -m studies.unfamiliarity.run DATA --stage features
    python -m studies.unfamiliarity.run DATA --stage detect --seeds 0 1 2
    python -m studies.unfamiliarity.run DATA --stage blocks            # the form that ships, on train and dev files
    python -m studies.unfamiliarity.run DATA --stage variance
    python -m studies.unfamiliarity.run DATA --stage dev --seeds 0 1 2

DATA holds `preferences/` and `raters/`.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from studies.evidence.folds import joined
from studies.unfamiliarity.detect import Blocks, Familiar, Forms, table, trained
from studies.unfamiliarity.material import HOMES, Home, Material, read
from studies.unfamiliarity.variance import study
from transformers.utils import logging

from vrm.metrics import auroc

HEADS = ("bt", "gated")
ENOUGH = 0.8


def fitted(material: Material, home: Home, seed: int) -> Forms:
    """Every form on a home's rows to fit."""
    features = material.features()
    heads = {name: trained(material, features, name, (home.fit, home.held), seed) for name in HEADS}
    return Familiar.of(features, home.fit, heads).forms()


def detect(material: Material, homes: Iterable[str], seeds: Iterable[int], output: Path, dev: bool) -> None:
    """AUROC of every form, home and foreign source."""
    for name in homes:
        for seed in seeds:
            home = Home.of(material, name, seed)
            found = table(fitted(material, home, seed), home, dev)
            part = "dev" if dev else "train"
            (output / f"auroc-{part}-{name}-{seed}.json").write_text(json.dumps(found))
            print(name, seed, len(home.fit), len(home.inside), flush=True)


def blocks(material: Material, homes: Iterable[str], seeds: Iterable[int]) -> None:
    """AUROC of what blocks leave out of a prompt and a completion, on train and dev files."""
    features = material.features()
    found: dict[tuple[str, str], dict[tuple[str, str], list[float]]] = {}
    for name in homes:
        for seed in seeds:
            home = Home.of(material, name, seed)
            known = Blocks.of(features, joined([home.fit, home.held]))
            for part, inside, outside in (
                ("train", home.inside, home.outside),
                ("dev", home.inside_dev, home.outside_dev),
            ):
                familiar = known(inside)
                for source, fold in outside.items():
                    for form, values in known(fold).items():
                        place = np.repeat([0.0, 1.0], [len(familiar[form]), len(values)])
                        area = auroc(np.concatenate([familiar[form], values]), place)
                        found.setdefault((part, form), {}).setdefault((name, source), []).append(area)
        print(name, flush=True)
    for (part, form), pairs in found.items():
        for title, wanted in (("all", ""), ("rmb", "rmb"), ("all but one", "without")):
            areas = [float(np.mean(each)) for (home, _), each in pairs.items() if home.startswith(wanted)]
            share = np.mean(np.array(areas) >= ENOUGH)
            print(f"{part:5} {form:34} {title:12} {len(areas):3} {share:.2f} {np.median(areas):.2f} {min(areas):.2f}")
        print(part, form, {f"{home} | {source}": round(float(np.mean(v)), 2) for (home, source), v in pairs.items()})


def summary(output: Path, part: str, kind: str, homes: Iterable[str] = HOMES) -> list[tuple[str, float, float, float]]:
    """(form, share of home and source pairs at .8 or more, median, lowest), the best first; means over seeds."""
    values: dict[str, list[float]] = {}
    for name in homes:
        seeds = [json.loads(path.read_text())[kind] for path in output.glob(f"auroc-{part}-{name}-?.json")]
        for form in seeds[0] if seeds else ():
            for source in seeds[0][form]:
                values.setdefault(form, []).append(float(np.mean([seed[form][source] for seed in seeds])))
    rows = [
        (form, float(np.mean(np.array(each) >= ENOUGH)), float(np.median(each)), min(each))
        for form, each in values.items()
    ]
    return sorted(rows, key=lambda row: (-row[1], -row[2]))


def show(output: Path, part: str) -> None:
    """Print what was found."""
    for kind in ("pairs", "texts"):
        for title, homes in (
            ("all homes", list(HOMES)),
            ("one source", [name for name in HOMES if not name.startswith("without")]),
            ("all but one", [name for name in HOMES if name.startswith("without")]),
        ):
            print(f"\n{part}, {kind}, {title}: share >= {ENOUGH}, median, lowest")
            for form, share, median, lowest in summary(output, part, kind, homes)[:60]:
                print(f"  {form:34} {share:5.2f} {median:5.2f} {lowest:5.2f}")


def variances(material: Material, homes: Iterable[str], seeds: Iterable[int], output: Path) -> None:
    """NLL and deferral for every home and head."""
    for name in homes:
        for head in HEADS:
            for seed in seeds:
                place = output / f"variance-{name}-{head}-{seed}.json"
                if not place.exists():
                    home = Home.of(material, name, seed)
                    found = study(material, material.features(), home, head, seed, lambda text: print(text, flush=True))
                    place.write_text(json.dumps(found))


def main() -> None:
    """Run one stage."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--stage", choices=["features", "detect", "blocks", "variance", "dev", "show"], required=True)
    parser.add_argument("--output", type=Path, default=Path("runs/unfamiliarity"))
    parser.add_argument("--cache", type=Path, default=Path("runs/features"))
    parser.add_argument("--homes", nargs="+", default=list(HOMES), choices=list(HOMES))
    parser.add_argument("--share", type=float, default=1.0, help="of the rows of section 6")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    arguments: Any = parser.parse_args()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    arguments.output.mkdir(parents=True, exist_ok=True)
    if arguments.stage == "show":
        for part in ("train", "dev"):
            show(arguments.output, part)
        return
    material = read(arguments.data, arguments.cache, arguments.share)
    if arguments.stage == "blocks":
        blocks(material, arguments.homes, arguments.seeds)
    elif arguments.stage in ("detect", "dev"):
        detect(material, arguments.homes, arguments.seeds, arguments.output, arguments.stage == "dev")
    elif arguments.stage == "variance":
        variances(material, arguments.homes, arguments.seeds, arguments.output)


if __name__ == "__main__":
    main()
