"""Hidden states of prompts and completions, pooled: every prompt once, batched by token budget, cached by content."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vrm.choices import Precision
from vrm.data.collate import pad_right
from vrm.data.tokenized import TokenizedJudgment
from vrm.errors import check_choice
from vrm.inference.feature_store import FeatureStore, content_key
from vrm.model.backbones import encode_completions, encode_packed, encode_prompts, first_position
from vrm.model.modeling_vrm import VRMForSequenceClassification
from vrm.model.packing import Tree, pack_trees, part_of, plan_passes

DEFAULT_TOKEN_BUDGET = 8192

Progress = Callable[[int, int], None]
"""Called with (rows done, rows in all)."""


def resolve_precision(precision: str, device: torch.device) -> torch.dtype:
    """Dtype of the backbone's matrix products: `auto` is bfloat16 where the hardware computes in it, else float32.

    Raises:
        ConfigError: for an unknown precision.
    """
    check_choice("precision", precision, Precision)
    if precision != Precision.AUTO:
        return torch.float32 if precision == Precision.FLOAT32 else torch.bfloat16
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float32
    supported = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    return torch.bfloat16 if device.type == "cpu" and supported() else torch.float32


def backbone_fingerprint(model: VRMForSequenceClassification) -> str:
    """SHA-256 over the backbone's parameters, by name and content; changes when the backbone is fine-tuned."""
    digest = hashlib.sha256()
    for name, parameter in sorted(model.backbone.state_dict().items()):
        digest.update(name.encode())
        digest.update(parameter.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


@dataclass(frozen=True)
class ExtractionOptions:
    """How features are computed.

    Attributes:
        precision: one of `vrm.choices.Precision`.
        token_budget: token positions of one pass, padding included if there is any; a longer row is its own.
        cache: directory of the memory-mapped cache; None keeps features in memory.
    """

    precision: str = "auto"
    token_budget: int = DEFAULT_TOKEN_BUDGET
    cache: str | None = None


@dataclass(frozen=True)
class FeatureTable:
    """Rows of a store for judgments.

    Attributes:
        store: where the features are.
        prompts: (batch,) row of each prompt.
        completions: (batch, num_completions) row of each completion; -1 where there is none.
    """

    store: FeatureStore
    prompts: NDArray[np.int64]
    completions: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.prompts)

    def batch(self, index: NDArray[np.int64] | slice) -> tuple[Tensor, Tensor]:
        """Features (batch, width) and (batch, num_completions, width) of some judgments."""
        completions = self.completions[index]
        prompts = torch.from_numpy(self.store.take(self.prompts[index]))
        return prompts, torch.from_numpy(self.store.take(np.maximum(completions, 0)))


@dataclass(frozen=True, slots=True)
class _Job:
    key: bytes
    ids: list[int]
    start: int


class FeatureExtractor:
    """Computes and caches the head's inputs with a backbone that does not change.

    Args:
        model: gives backbone and configuration; left in evaluation mode.
        pad_id: for padding; never read.
        options: precision, batch size, cache.
    """

    def __init__(
        self, model: VRMForSequenceClassification, pad_id: int = 0, options: ExtractionOptions | None = None
    ) -> None:
        self.model, self.pad_id, self.options = model.eval(), pad_id, options or ExtractionOptions()
        self.first_position = first_position(model.backbone)
        self.device = next(model.backbone.parameters()).device
        self.dtype = resolve_precision(self.options.precision, self.device)
        self.store = self._new_store()

    def _new_store(self) -> FeatureStore:
        config = self.model.config
        if self.options.cache is None:
            return FeatureStore(config.feature_size)
        fingerprint = {
            "backbone": backbone_fingerprint(self.model),
            "layers": config.feature_layers,
            "poolings": config.poolings if config.backbone_kind == "encoder" else ["last"],
            "dtype": str(self.dtype),
        }
        return FeatureStore(config.feature_size, self.options.cache, fingerprint)

    def table(self, items: Sequence[TokenizedJudgment], progress: Progress | None = None) -> FeatureTable:
        """Features of tokenized judgments; computes what the store does not hold."""
        prompt_keys = [content_key("prompt", item.prompt) for item in items]
        completion_keys = [
            [content_key("completion", item.prompt + ids, len(item.prompt)) for ids in item.completions]
            for item in items
        ]
        self._compute(items, prompt_keys, completion_keys, progress)
        width = max([2, *(len(keys) for keys in completion_keys)])
        completions = np.full((len(items), width), -1, dtype=np.int64)
        for row, keys in enumerate(completion_keys):
            completions[row, : len(keys)] = self.store.rows_of(keys)
        return FeatureTable(self.store, self.store.rows_of(prompt_keys), completions)

    def _compute(
        self,
        items: Sequence[TokenizedJudgment],
        prompt_keys: list[bytes],
        completion_keys: list[list[bytes]],
        progress: Progress | None,
    ) -> None:
        completions = {
            key: _Job(key, item.prompt + ids, len(item.prompt))
            for item, keys in zip(items, completion_keys, strict=True)
            for key, ids in zip(keys, item.completions, strict=True)
        }
        prompts = {key: _Job(key, item.prompt, 0) for key, item in zip(prompt_keys, items, strict=True)}
        new_completions = [completions[key] for key in self.store.missing(completions)]
        total, done = len(new_completions) + len(self.store.missing(prompts)), 0
        route = self._padded if self.model.packing_problem else self._packed
        for count in route(new_completions, prompts):
            done += count
            if progress:
                progress(done, total)
        if progress and total:
            progress(total, total)

    def _packed(self, completions: list[_Job], prompts: dict[bytes, _Job]) -> Iterator[int]:
        """Compute by trees: every prompt once for all of its completions. Yields numbers of texts done."""
        kind = self.model.config.backbone_kind
        groups: dict[tuple[int, ...], list[_Job]] = {tuple(prompts[key].ids): [] for key in self.store.missing(prompts)}
        for job in completions:
            groups.setdefault(tuple(job.ids[: job.start]), []).append(job)
        trees, keys = [], {}
        for prompt, group in groups.items():
            group.sort(key=_longest_first)
            trees.append(Tree(prompt, [job.ids[job.start :] for job in group]))
            keys[prompt] = [job.key for job in group]
        trees.sort(key=lambda tree: (-tree.positions(kind), tree.prompt))
        for branches in plan_passes(trees, kind, self.options.token_budget):
            packed = pack_trees([part_of(trees[item.tree], item) for item in branches], kind, self.first_position)
            read: list[bytes] = []
            for item in branches:
                prompt = tuple(trees[item.tree].prompt)
                read += [content_key("prompt", prompt), *(keys[prompt][index] for index in item.completions)]
            yield self._keep(read, self._forward_packed(packed))

    def _keep(self, keys: list[bytes], features: Tensor) -> int:
        """Store rows that are not there yet; how many."""
        missing = self.store.missing(keys)
        fresh = [row for row, key in enumerate(keys) if key in missing]
        self.store.add([keys[row] for row in fresh], features[fresh].cpu().numpy())
        return len(fresh)

    @torch.inference_mode()
    def _forward_packed(self, packed: dict[str, Tensor]) -> Tensor:
        with self._autocast():
            on_device = {name: value.to(self.device) for name, value in packed.items()}
            return encode_packed(self.model.backbone, self.model.config, on_device)

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.dtype == torch.bfloat16)

    def _padded(self, completions: list[_Job], prompts: dict[bytes, _Job]) -> Iterator[int]:
        """Compute row by row in batches of similar length. Yields numbers of texts done."""
        for batch in token_batches(completions, self.options.token_budget):
            yield self._run_completions(batch, prompts)
        # A decoder's completion pass has given most prompts already.
        for batch in token_batches([prompts[key] for key in self.store.missing(prompts)], self.options.token_budget):
            yield self._keep([job.key for job in batch], self._forward(batch, prompts_alone=True)[0])

    def _run_completions(self, batch: list[_Job], prompts: dict[bytes, _Job]) -> int:
        completions, prompt_features = self._forward(batch, prompts_alone=False)
        done = self._keep([job.key for job in batch], completions)
        if prompt_features is None:
            return done
        rows = {content_key("prompt", job.ids[: job.start]): row for row, job in enumerate(batch)}
        fresh = sorted(key for key in self.store.missing(rows) if key in prompts)
        return done + (self._keep(fresh, prompt_features[[rows[key] for key in fresh]]) if fresh else 0)

    @torch.inference_mode()
    def _forward(self, batch: list[_Job], prompts_alone: bool) -> tuple[Tensor, Tensor | None]:
        ids, mask = pad_right([job.ids for job in batch], self.pad_id)
        ids, mask = ids.to(self.device), mask.bool().to(self.device)
        with self._autocast():
            if prompts_alone:
                return encode_prompts(self.model.backbone, self.model.config, ids, mask), None
            start = torch.tensor([job.start for job in batch], device=self.device)
            return encode_completions(self.model.backbone, self.model.config, ids, mask, start)


def _longest_first(job: _Job) -> tuple[int, bytes]:
    return -len(job.ids), job.key


def token_batches(jobs: list[_Job], token_budget: int) -> list[list[_Job]]:
    """Batches of similar length, longest first, at most `token_budget` positions each; ties broken by key."""
    batches: list[list[_Job]] = []
    for job in sorted(jobs, key=_longest_first):
        if batches and (len(batches[-1]) + 1) * len(batches[-1][0].ids) <= token_budget:
            batches[-1].append(job)
        else:
            batches.append([job])
    return batches
