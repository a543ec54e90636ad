"""A run that goes on must be the run that was started."""

from __future__ import annotations

import json
from pathlib import Path

from vrm.config import RunConfig, with_new_keys
from vrm.errors import ConfigError
from vrm.train.passes import flat
from vrm.train.processes import is_main_process

FILE = "config.json"
FREE = ("output_dir", "train.logging_steps", "train.report_to", "features.cache", "features.token_budget")
"""Keys that may change between start and `--resume`: the weights do not depend on them."""


def keep_configuration(config: RunConfig, resume: bool) -> None:
    """Write the configuration into `output_dir`, or on `--resume` compare it with the one written there.

    Raises:
        ConfigError: naming every key that is another than when the run was started.
    """
    path = Path(config.output_dir) / FILE
    now = json.loads(config.model_dump_json())
    if resume and path.exists():
        stored, _ = with_new_keys(json.loads(path.read_text(encoding="utf-8")))
        before, after = flat(stored), flat(now)
        changed = [key for key in {**before, **after} if key not in FREE and before.get(key) != after.get(key)]
        if changed:
            lines = "\n".join(f"  {key}: {after.get(key)!r} now, {before.get(key)!r} before" for key in changed)
            raise ConfigError(
                f"--resume: the run in {config.output_dir} was started with another configuration\n{lines}\n"
                "Give the same one, or choose another output_dir"
            )
    elif is_main_process():
        path.write_text(json.dumps(now, indent=2) + "\n", encoding="utf-8")
