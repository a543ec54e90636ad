"""What features of the backbone are found by: hashes of the token ids that it reads."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from vrm.data.tokenized import TokenizedJudgment

KEY_BYTES = 16


def content_key(role: str, ids: Sequence[int], start: int = 0) -> bytes:
    """Key of what is encoded: its role (`prompt`, `completion`), token ids, and where the completion starts."""
    digest = hashlib.blake2b(digest_size=KEY_BYTES, person=role.encode()[:16])
    digest.update(start.to_bytes(4, "little"))
    digest.update(np.asarray(ids, dtype="<i4").tobytes())
    return digest.digest()


def content_keys(item: TokenizedJudgment) -> tuple[bytes, list[bytes]]:
    """Keys of a judgment's prompt and of its completions."""
    start = len(item.prompt)
    return content_key("prompt", item.prompt), [
        content_key("completion", item.prompt + ids, start) for ids in item.completions
    ]
