"""Callbacks: progress on stderr, and the history of logged terms as JSON lines."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm
from transformers import TrainerCallback, TrainerState, TrainingArguments

from vrm.files import write_text
from vrm.train.processes import say

_SHOWN = ("eval_nll", "eval_accuracy", "eval_calibration_error", "eval_kl_to_prior", "eval_active_units", "eval_loss")


class ProgressBar(TrainerCallback):
    """A bar and one line an evaluation, on stderr: stdout is for results."""

    def __init__(self) -> None:
        self._bar: Any = None

    def on_train_begin(self, args: Any, state: TrainerState, control: Any, **kwargs: Any) -> None:
        """Open the bar."""
        if state.is_world_process_zero:
            self._bar = tqdm(total=state.max_steps, initial=state.global_step, desc="train", file=sys.stderr)

    def on_step_end(self, args: Any, state: TrainerState, control: Any, **kwargs: Any) -> None:
        """Advance the bar."""
        if self._bar is not None:
            self._bar.update(state.global_step - self._bar.n)

    def on_evaluate(
        self, args: Any, state: TrainerState, control: Any, metrics: dict[str, float] | None = None, **kwargs: Any
    ) -> None:
        """Print the main metrics."""
        if self._bar is not None and metrics:
            shown = {name.removeprefix("eval_"): f"{metrics[name]:.4g}" for name in _SHOWN if name in metrics}
            if "eval_pairs" in metrics:
                shown["accuracy"] += f" (of {metrics['eval_pairs']:.0f})"
            text = "  ".join(f"{name} {value}" for name, value in shown.items())
            tqdm.write(f"step {state.global_step}: {text}", file=sys.stderr)

    def on_train_end(self, args: Any, state: TrainerState, control: Any, **kwargs: Any) -> None:
        """Close the bar."""
        self.close()

    def close(self) -> None:
        """Close the bar, where training stops before its end too; what is printed next begins a line."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def say_kept(args: TrainingArguments, state: TrainerState) -> None:
    """Say whether training stopped early, and which step is kept by which measure; nothing without held-out rows."""
    if not args.metric_for_best_model or state.best_global_step is None:
        return
    kept = f"step {state.best_global_step} is kept, with the lowest {args.metric_for_best_model}"
    words = f"{kept} of held-out rows, {state.best_metric:.4g}"
    if state.global_step < state.max_steps:
        words = f"stopped early, at step {state.global_step} of {state.max_steps} (train.early_stopping): {words}"
    say(words)
    if state.best_global_step == state.max_steps:
        say("it is the last step: training on may be better (raise train.epochs, or lower train.batch_size)")


class HistoryWriter(TrainerCallback):
    """Rewrites `history.jsonl` at every evaluation and at the end, one line a log, from the trainer's own state."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_evaluate(self, args: Any, state: TrainerState, control: Any, **kwargs: Any) -> None:
        """Write what there is."""
        self.write(state)

    on_train_end = on_evaluate

    def write(self, state: TrainerState) -> None:
        """Write the logs of a state."""
        if state.is_world_process_zero:
            write_text(self.path, "".join(json.dumps(entry) + "\n" for entry in state.log_history))
