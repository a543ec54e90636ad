"""Scoring and features with the workers of a Ray cluster; needs the extra `ray`::

    scores = ray.data.read_parquet("s3://rows/").map_batches(
        ScoreRows, fn_constructor_args=[WorkerSettings("runs/mine/model")], batch_format="pyarrow", batch_size=512,
        compute=ray.data.ActorPoolStrategy(size=4),
    )

`vrm score --ray` writes the rows that `vrm score` writes. `extract_features` fills a feature cache that training and
benchmarks read.
"""

from __future__ import annotations

from vrm._lazy import lazy_names

_WHERE = {
    "ScoreRows": "vrm.integrations.ray.workers",
    "WorkerSettings": "vrm.integrations.ray.workers",
    "RayScorer": "vrm.integrations.ray.scoring",
    "extract_features": "vrm.integrations.ray.features",
    "ray_workers": "vrm.integrations.ray.cluster",
}

__all__ = list(_WHERE)

__getattr__, __dir__ = lazy_names(__name__, _WHERE)
