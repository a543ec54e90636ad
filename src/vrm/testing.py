"""Tokenizers small enough to make on the spot, for the tests, studies and examples of this package.

Not a public feature: names and vocabularies may change with any version.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

CHATML = (
    "{%- for message in messages -%}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n"
    "{% endfor -%}{%- if add_generation_prompt -%}<|im_start|>assistant\n{% endif -%}"
)
"""The chat template of most open models."""


def wordpiece_tokenizer(pieces: Iterable[str], *, enclose: bool = True) -> Any:
    """A tokenizer as encoders have it: lower case, punctuation apart, words as known pieces.

    Args:
        pieces: the vocabulary after the special tokens, in order; pieces inside a word begin with `##`.
        enclose: whether texts come out between `[CLS]` and `[SEP]`.
    """
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    vocab = {piece: index for index, piece in enumerate(dict.fromkeys(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *pieces]))}
    tokenizer = Tokenizer(models.WordPiece(vocab, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    if enclose:
        tokenizer.post_processor = processors.TemplateProcessing(
            single="[CLS] $A [SEP]", special_tokens=[(name, vocab[name]) for name in ("[CLS]", "[SEP]")]
        )
    specials = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **specials)


def byte_level_tokenizer(
    texts: Iterable[str], size: int, *, pattern: str | None = None, chat_template: str | None = CHATML
) -> Any:
    """A tokenizer as decoders have it: byte-level BPE, learned from texts.

    Args:
        texts: what merges are learned from.
        size: of the vocabulary, at most; 256 bytes and 3 special tokens are always there.
        pattern: regular expression of the pieces within which bytes merge; None: as GPT-2 splits.
        chat_template: of the tokenizer; None for none.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=pattern is None)
    if pattern is not None:
        pieces = pre_tokenizers.Split(Regex(pattern), "isolated")
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pieces, tokenizer.pre_tokenizer])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    specials = {"pad_token": "<|endoftext|>", "eos_token": "<|im_end|>"}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, chat_template=chat_template, **specials)
