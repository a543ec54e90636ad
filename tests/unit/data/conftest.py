"""A byte-level tokenizer that splits text as current chat models do: runs of line ends stay together."""

from __future__ import annotations

import pytest

QWEN_LIKE = r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"


@pytest.fixture(scope="session")
def merging_tokenizer_file(tmp_path_factory):
    """Directory of a ChatML tokenizer in which two line ends are one token, wherever they come from."""
    from vrm.testing import byte_level_tokenizer

    texts = ["assistant\n\nuser very good\n\n how do you\n\n"] * 9
    directory = tmp_path_factory.mktemp("merging-tokenizer")
    byte_level_tokenizer(texts, size=330, pattern=QWEN_LIKE).save_pretrained(directory)
    return directory
