"""Under which names a server may be asked, so that no page in a browser can read it through a name of its own.

A page of another origin may send requests to a server on the reader's machine or network, but browsers let it read no
answer. With DNS rebinding it can: the page's own name begins to resolve to the server's address, and the browser takes
the server for the page's own. Then the header `Host` still has the page's name. An address in `Host` cannot be rebound.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Sequence

LOCAL = ("localhost", "*.localhost")
"""Names that browsers and resolvers give to this machine alone."""

ANY = "*"
"""The pattern of all names."""

_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\s:/\[\]@]+)(?::\d*)?")
_NAME = re.compile(r"[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?(?:\.[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?)*")


def checked_pattern(pattern: str) -> str | None:
    """A name, `*.` and a name for all below it, or `*` for all, in small letters; None for anything else."""
    if pattern == ANY:
        return ANY
    plain = pattern.strip().lower().removesuffix(".")
    return plain if _NAME.fullmatch(plain.removeprefix("*.")) else None


def own_names(bound_to: str) -> tuple[str, ...]:
    """Names of this machine, and what the server is bound to if that is a name."""
    names = dict.fromkeys(filter(None, map(checked_pattern, (socket.gethostname(), bound_to))))
    return tuple(name for name in names if not _is_address(name))


def is_allowed(host: str, patterns: Sequence[str]) -> bool:
    """Whether a header `Host` has an address, with any port, or a name of the patterns or of `LOCAL`."""
    if ANY in patterns:
        return True
    parts = _HOST.fullmatch(host)
    if parts is None:
        return False
    name = parts[1].lower().removesuffix(".")
    return _is_address(name.strip("[]")) or any(_matches(name, pattern) for pattern in (*LOCAL, *patterns))


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _matches(name: str, pattern: str) -> bool:
    return name.endswith(pattern[1:]) if pattern.startswith("*.") else name == pattern
