"""A byte-level tokenizer that splits text as current chat models do: runs of line ends stay together."""

from __future__ import annotations

import pytest

QWEN_LIKE = r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"


@pytest.fixture(scope="session")
def merging_tokenizer_file(tmp_path_factory, tiny_decoder_backbone):
    """Directory of a ChatML tokenizer in which two line ends are one token, wherever they come from."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(QWEN_LIKE), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=330,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        show_progress=False,
    )
    tokenizer.train_from_iterator(["assistant\n\nuser very good\n\n how do you\n\n"] * 9, trainer)
    directory = tmp_path_factory.mktemp("merging-tokenizer")
    template = AutoTokenizer.from_pretrained(tiny_decoder_backbone).chat_template
    specials = {"pad_token": "<|endoftext|>", "eos_token": "<|im_end|>"}
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, chat_template=template, **specials)
    wrapped.save_pretrained(directory)
    return directory
