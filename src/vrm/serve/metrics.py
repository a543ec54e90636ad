"""Prometheus metrics of a server."""

from __future__ import annotations

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest

CONTENT_TYPE = CONTENT_TYPE_LATEST
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)
_TEXTS = tuple(2.0**power for power in range(13))
_TOKENS = tuple(2.0**power for power in range(4, 20))


class ServeMetrics:
    """Counters, gauges and histograms, in a registry of their own, so that several servers fit into one process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        registry = self.registry
        self.info = Gauge("vrm_info", "What is served; always 1.", ["version", "model"], registry=registry)
        self.requests = Counter("vrm_requests", "Requests answered.", ["route", "status"], registry=registry)
        self.seconds = Histogram(
            "vrm_request_seconds", "Time from request to answer.", ["route"], buckets=_SECONDS, registry=registry
        )
        self.pending_texts = Gauge("vrm_pending_texts", "Completions accepted and not yet answered.", registry=registry)
        self.pending_requests = Gauge(
            "vrm_pending_requests", "Requests accepted and not yet answered.", registry=registry
        )
        self.refused = Counter("vrm_refused", "Requests refused because the queue was full.", registry=registry)
        self.dropped = Counter("vrm_dropped", "Requests given up before their answer.", ["reason"], registry=registry)
        self.batch_texts = Histogram("vrm_batch_texts", "Completions of a batch.", buckets=_TEXTS, registry=registry)
        self.batch_tokens = Histogram(
            "vrm_batch_tokens", "Distinct tokens of a batch.", buckets=_TOKENS, registry=registry
        )
        self.batch_seconds = Histogram(
            "vrm_batch_seconds", "Time of the model on a batch.", buckets=_SECONDS, registry=registry
        )
        self.texts = Counter("vrm_texts", "Completions judged.", registry=registry)
        self.tokens = Counter("vrm_tokens", "Distinct tokens judged.", registry=registry)
        self.truncated = Counter(
            "vrm_truncated_prompts", "Judgments cut to the model's limit of tokens.", registry=registry
        )

    def render(self) -> bytes:
        """All metrics in Prometheus's text format."""
        return generate_latest(self.registry)
