"""Hidden states of prompts and completions, pooled: every prompt once, batched by token budget, cached by content."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vrm.choices import NO_CACHE, Precision
from vrm.data.content_keys import KEY_BYTES, content_key
from vrm.data.shared_cache import FEATURES, has_room
from vrm.data.tokenized import TokenizedJudgment
from vrm.errors import DataError, OutputError, check_choice
from vrm.inference.feature_store import FeatureStore
from vrm.inference.feature_table import FeatureTable, FoundRows, KeyedRows, keyed
from vrm.inference.key_index import in_list
from vrm.model.backbones import encode_completions, encode_packed, encode_prompts, first_position
from vrm.model.checkpoint import tensors_sha256
from vrm.model.configuration_vrm import VRMConfig
from vrm.model.modeling_vrm import VRMForSequenceClassification
from vrm.model.packing import PROMPT, packed_passes, padded_passes, trees_of
from vrm.model.padding import pad_right

DEFAULT_TOKEN_BUDGET = 8192

_UNUSABLE = (OutputError, DataError, OSError, NotImplementedError)
"""Raised where a cache cannot be written or locked: a full disk, a folder of somebody else, a disk of the network."""

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
    return torch.bfloat16 if device.type == "cpu" and _processor_computes_in_bfloat16() else torch.float32


def _processor_computes_in_bfloat16() -> bool:
    """Whether the processor has the instructions and oneDNN uses them: emulated, bfloat16 is slower than float32."""
    has_instructions = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    used = getattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: True)
    return bool(has_instructions() and used())


def backbone_fingerprint(model: VRMForSequenceClassification) -> str:
    """SHA-256 over the backbone's parameters, by name and content; changes when the backbone is fine-tuned."""
    return tensors_sha256(model.backbone.state_dict())


_NO_SETTINGS = {
    "_name_or_path", "architectures", "dtype", "gradient_checkpointing", "id2label", "label2id", "output_attentions",
    "output_hidden_states", "problem_type", "return_dict", "torch_dtype", "transformers_version", "use_cache",
}  # fmt: skip
"""Keys of a backbone's configuration that its hidden states do not depend on."""


def backbone_settings(config: VRMConfig) -> str:
    """SHA-256 over what the backbone's configuration says of its computation: equal weights may be read differently."""

    def settings(values: Any) -> Any:
        if isinstance(values, dict):
            return {str(key): settings(value) for key, value in values.items() if key not in _NO_SETTINGS}
        return values

    text = json.dumps(settings(config.backbone_config.to_diff_dict()), sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True)
class ExtractionOptions:
    """How features are computed.

    Attributes:
        precision: one of `vrm.choices.Precision`.
        token_budget: token positions of one pass, padding included if there is any; a longer row is its own.
        cache: directory of the memory-mapped cache; None keeps features in memory.
        cache_limit: bytes that the cache may hold. One with a limit is not needed: what does not fit, or cannot be
            written, goes to `spill`. None is a cache without a limit, whose errors are raised.
        spill: directory of the cache, without a limit, in its place; None keeps features in memory.
    """

    precision: str = "auto"
    token_budget: int = DEFAULT_TOKEN_BUDGET
    cache: str | None = None
    cache_limit: int | None = None
    spill: str | None = None

    def with_cache(self, given: str | None = None, spill: str | None = None) -> ExtractionOptions:
        """These options with the cache that was named: a directory, `none`, or by None the shared one.

        Raises:
            ConfigError: if the environment gives the shared one a limit that is none.
        """
        place = FEATURES.directory() if given is None else given
        if place in (None, NO_CACHE):
            return replace(self, cache=spill)
        if given is not None:
            return replace(self, cache=given)
        return replace(self, cache=str(place), cache_limit=FEATURES.limit(), spill=spill)

    @property
    def notice(self) -> str | None:
        """What to tell before the shared cache is used for the first time; None later, and for any other cache."""
        if self.cache_limit is None or self.cache is None or Path(self.cache).exists():
            return None
        return (
            f"features of the backbone are kept in {self.cache} ({self.cache_limit / 1e9:g} GB at most) and reused; "
            f"the environment variable {FEATURES.variable}={NO_CACHE} keeps none"
        )

    @property
    def spilling(self) -> ExtractionOptions:
        """These options with `spill` in the place of the cache."""
        return replace(self, cache=self.spill, cache_limit=None)


@dataclass(frozen=True, slots=True)
class _Text:
    """A completion after its prompt, or with an empty completion a prompt alone, under its key in the store."""

    key: bytes
    prompt: list[int]
    completion: list[int]

    @property
    def ids(self) -> list[int]:
        return self.prompt + self.completion


class FeatureExtractor:
    """Computes and caches the head's inputs with a backbone that does not change.

    Args:
        model: gives backbone and configuration; left in evaluation mode.
        pad_id: for padding; never read.
        options: precision, batch size, cache.
        backbone_sha256: `backbone_fingerprint` of the model, where it is known: reading the weights takes seconds.
    """

    def __init__(
        self,
        model: VRMForSequenceClassification,
        pad_id: int = 0,
        options: ExtractionOptions | None = None,
        backbone_sha256: str | None = None,
    ) -> None:
        self.model, self.pad_id, self.options = model.eval(), pad_id, options or ExtractionOptions()
        self._backbone_sha256 = backbone_sha256
        self.first_position = first_position(model.backbone)
        self.device = next(model.backbone.parameters()).device
        self.dtype = resolve_precision(self.options.precision, self.device)
        self._beside: FeatureExtractor | None = None
        self.store = self._new_store()

    @property
    def backbone_sha256(self) -> str:
        """`backbone_fingerprint` of the model, computed at most once."""
        if self._backbone_sha256 is None:
            self._backbone_sha256 = backbone_fingerprint(self.model)
        return self._backbone_sha256

    def _new_store(self) -> FeatureStore:
        if self.options.cache_limit is None:
            return self._open(self.options.cache)
        with suppress(*_UNUSABLE):
            Path(str(self.options.cache)).mkdir(mode=0o700, parents=True, exist_ok=True)
            return self._open(self.options.cache)
        self.options = self.options.spilling
        return self._open(self.options.cache)

    @property
    def fingerprint(self) -> dict[str, Any]:
        """All that features depend on beside their tokens, by which a cache keeps them apart."""
        config = self.model.config
        fingerprint = {
            "backbone": self.backbone_sha256,
            "settings": backbone_settings(config),
            "layers": config.feature_layers,
            "poolings": config.kind_poolings,
            "dtype": str(self.dtype),
        }
        if self.device.type != "cpu":
            # The same weights, but products of another device.
            fingerprint["device"] = self.device.type
        return fingerprint

    def _open(self, cache: str | None) -> FeatureStore:
        return FeatureStore(self.model.config.feature_size, cache, None if cache is None else self.fingerprint)

    def table(self, items: Sequence[TokenizedJudgment], progress: Progress | None = None) -> FeatureTable:
        """Features of tokenized judgments; computes what the store does not hold."""
        found, missing = FoundRows(), 0
        for some in keyed(items):
            rows = self.store.find(some.keys)
            found.add(rows, some.counts)
            missing += len({some.keys[KEY_BYTES * place :][:KEY_BYTES] for place in np.flatnonzero(rows < 0)})
        if not missing:
            return found.table(self.store)
        if not self._has_room(missing):
            return self._spill().table(items, progress)
        found, done = FoundRows(), 0

        def add(count: int) -> None:
            nonlocal done
            done += count
            if progress:
                progress(min(done, missing), missing)

        try:
            for some in keyed(items):
                self._compute(some, add)
                found.add(self.store.find(some.keys), some.counts)
        except _UNUSABLE:
            if self.options.cache_limit is None:
                raise
            return self._spill().table(items, progress)
        if progress:
            progress(missing, missing)
        return found.table(self.store)

    def _has_room(self, rows: int) -> bool:
        options = self.options
        if options.cache is None or options.cache_limit is None:
            return True
        try:
            return has_room(Path(options.cache), options.cache_limit, rows * self.store.bytes_per_row)
        except OSError:
            return False

    def _spill(self) -> FeatureExtractor:
        """Another extractor, on `spill`; in memory a new one each time, since its rows would only grow."""
        if self._beside is None or self.options.spill is None:
            self._beside = FeatureExtractor(self.model, self.pad_id, self.options.spilling, self._backbone_sha256)
        return self._beside

    def _compute(self, rows: KeyedRows, add: Callable[[int], None]) -> None:
        """Compute what the store does not hold, in an order that depends on the texts alone."""
        missing = self.store.missing(in_list(rows.keys))
        prompts: dict[bytes, _Text] = {}
        completions: dict[bytes, _Text] = {}
        for place, (prompt_key, completion_keys) in enumerate(rows.by_judgment()):
            if missing.isdisjoint((prompt_key, *completion_keys)):
                continue
            item = rows.items[place]
            texts = [
                (prompts, prompt_key, []),
                *((completions, *pair) for pair in zip(completion_keys, item.completions)),
            ]
            for known, key, ids in texts:
                if key in missing:
                    known[key] = _Text(key, item.prompt, ids)
        new_prompts, new_completions = (
            sorted(texts.values(), key=lambda text: (-len(text.ids), text.key)) for texts in (prompts, completions)
        )
        route = self._padded if self.model.packing_problem else self._packed
        for count in route(new_prompts, new_completions):
            add(count)

    def _packed(self, prompts: list[_Text], completions: list[_Text]) -> Iterator[int]:
        """Compute by trees: every prompt once for all of its completions. Yields numbers of texts done."""
        kind = self.model.config.backbone_kind
        alone = [(text.prompt, ()) for text in prompts]
        trees, places = trees_of([*alone, *((text.prompt, [text.completion]) for text in completions)])
        keys = {place: text.key for place, text in zip(places[len(alone) :], completions, strict=True)}
        keys |= {(number, PROMPT): content_key("prompt", tree.prompt) for number, tree in enumerate(trees)}
        order = sorted(range(len(trees)), key=lambda number: (-trees[number].positions(kind), trees[number].prompt))
        ordered = [trees[number] for number in order]
        for one_pass in packed_passes(ordered, kind, self.options.token_budget, self.first_position):
            reads = [keys[order[number], index] for number, index in one_pass.reads]
            yield self._keep(reads, self._forward_packed(one_pass.row))

    def _keep(self, keys: Sequence[bytes], features: Tensor) -> int:
        """Store rows that are not there yet; how many. Rows of equal keys are equal."""
        missing = self.store.missing(keys)
        fresh = {key: row for row, key in enumerate(keys) if key in missing}
        if fresh:
            self.store.add(list(fresh), features[list(fresh.values())].cpu().numpy())
        return len(fresh)

    @torch.inference_mode()
    def _forward_packed(self, packed: dict[str, Tensor]) -> Tensor:
        with self._autocast():
            on_device = {name: value.to(self.device) for name, value in packed.items()}
            return encode_packed(self.model.backbone, self.model.config, on_device)

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.dtype == torch.bfloat16)

    def _padded(self, prompts: list[_Text], completions: list[_Text]) -> Iterator[int]:
        """Compute row by row in batches of similar length. Yields numbers of texts done."""
        for texts in self._padded_batches(completions):
            features, prompt_features = self._forward(texts, prompts_alone=False)
            done = self._keep([text.key for text in texts], features)
            if prompt_features is not None:
                done += self._keep([content_key("prompt", text.prompt) for text in texts], prompt_features)
            yield done
        # A decoder's completion pass has given most prompts already.
        missing = self.store.missing(text.key for text in prompts)
        for texts in self._padded_batches([text for text in prompts if text.key in missing]):
            yield self._keep([text.key for text in texts], self._forward(texts, prompts_alone=True)[0])

    def _padded_batches(self, texts: list[_Text]) -> Iterator[list[_Text]]:
        for numbers in padded_passes([(1, len(text.ids)) for text in texts], self.options.token_budget):
            yield [texts[number] for number in numbers]

    @torch.inference_mode()
    def _forward(self, texts: list[_Text], prompts_alone: bool) -> tuple[Tensor, Tensor | None]:
        ids, mask = (rows.to(self.device) for rows in pad_right([text.ids for text in texts], self.pad_id))
        with self._autocast():
            if prompts_alone:
                return encode_prompts(self.model.backbone, self.model.config, ids, mask), None
            start = torch.tensor([len(text.prompt) for text in texts], device=self.device)
            return encode_completions(self.model.backbone, self.model.config, ids, mask, start)
