"""Limits and times of a server, and how it is reached."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields

from vrm.errors import ConfigError
from vrm.serve.hosts import ANY, checked_pattern

OWN_PREFIXES = ("/v1", "/slime")
"""What routes of the server begin with: behind a proxy that takes a prefix off, it would be taken off these too."""


@dataclass(frozen=True, kw_only=True)
class ServeSettings:
    """Limits and times of a server, and how it is reached.

    Attributes:
        name: of the model, as answers give it.
        source: the model as a command takes it, for commands that the page `/explore` shows; empty for the name.
        queue_delay: seconds that a request waits for others to share its batch, at most, while the model is idle.
        batch_tokens: distinct tokens of one batch; a request with more is a batch of its own.
        max_queue_texts: completions accepted and not yet answered; beyond them requests are refused (429).
        request_timeout: seconds from acceptance to answer, after which a request is given up (504).
        max_body_bytes: of a request's body (413).
        max_texts: completions of one request (422).
        max_explained: completions of one request to explain (422); explanations cost more than rewards.
        max_sentences: of the completions of one request whose sentences are left out in turn (422).
        max_characters: of one prompt, and of one completion (422).
        token: that requests must bear; None asks for none.
        root_path: path prefix under which a proxy offers the server, such as `/reward`; empty for none. Requests may
            come with or without it.
        cors_origins: origins of pages whose scripts may ask the server, such as `https://example.org`, or `*` for all.
        allowed_hosts: names under which the server may be asked, beside addresses and localhost: `reward.example.org`,
            `*.example.org` or `*` for all. None stands for all names where there is a token, and for no others where
            there is none.

    Raises:
        ConfigError: for a value out of its range.
    """

    name: str = "vrm"
    source: str = ""
    queue_delay: float = 0.005
    batch_tokens: int = 8192
    max_queue_texts: int = 4096
    request_timeout: float = 120.0
    max_body_bytes: int = 4 << 20
    max_texts: int = 64
    max_explained: int = 16
    max_sentences: int = 256
    max_characters: int = 200_000
    token: str | None = None
    root_path: str = ""
    cors_origins: tuple[str, ...] = ()
    allowed_hosts: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            least = 0 if field.name == "queue_delay" else 1 if isinstance(value, int) else 1e-3
            if isinstance(value, int | float) and not least <= value < float("inf"):
                raise ConfigError(f"{field.name} must be a finite number of at least {least}, got {value}")
        if self.max_texts > self.max_queue_texts:
            raise ConfigError(
                f"max_texts ({self.max_texts}) must not exceed max_queue_texts ({self.max_queue_texts}): "
                "the largest request would never be accepted"
            )
        if self.token is not None and not self.token.strip():
            raise ConfigError("the token is empty: every request would be let in. Give one, or none at all")
        object.__setattr__(self, "root_path", _checked_prefix(self.root_path))
        object.__setattr__(self, "cors_origins", tuple(map(_checked_origin, self.cors_origins)))
        if self.allowed_hosts is not None:
            object.__setattr__(self, "allowed_hosts", tuple(map(_checked_host, self.allowed_hosts)))

    @property
    def host_patterns(self) -> tuple[str, ...]:
        """Names under which the server may be asked, beside addresses and localhost."""
        if self.allowed_hosts is not None:
            return self.allowed_hosts
        # A page in a browser that reaches the server by a name of its own does not know the token.
        return () if self.token is None else (ANY,)


def _checked_prefix(path: str) -> str:
    prefix = path.rstrip("/")
    if prefix and not re.fullmatch(r"(/[A-Za-z0-9._~-]+)+", prefix):
        raise ConfigError(f"root_path: {path!r} is no prefix of a path; it looks like /reward or /models/reward")
    if prefix in OWN_PREFIXES:
        raise ConfigError(f"root_path: routes of the server itself begin with {prefix}; choose another prefix")
    return prefix


def _checked_origin(origin: str) -> str:
    # Browsers send origins in small letters and without a path.
    plain = origin.lower().removesuffix("/")
    if plain != "*" and not re.fullmatch(r"[a-z][a-z0-9+.-]*://[^/\s?#@*]+", plain):
        raise ConfigError(f"cors_origins: {origin!r} is no origin; it looks like https://example.org:8080, or is *")
    return plain


def _checked_host(name: str) -> str:
    pattern = checked_pattern(name)
    if pattern is None:
        raise ConfigError(
            f"allowed_hosts: {name!r} is no name of a host; it looks like reward.example.org, without scheme and port, "
            "or *.example.org, or is *"
        )
    return pattern
