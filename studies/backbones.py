"""Which architectures work as backbones, and how: each as a random model of two layers, loaded as a user's would be.

    python -m studies.backbones > docs/backbones.md

A minute on one core. `tests/unit/model/test_architectures.py` compares the page with what it finds, row by row, and
rewards of packed rows with those of padded ones and of single texts.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModel, AutoTokenizer, __version__

from vrm.config import LoraSettings
from vrm.data.chat import describe_prompts, ensure_chat_template
from vrm.errors import VrmError
from vrm.model import VRMForSequenceClassification
from vrm.testing import byte_level_tokenizer, wordpiece_tokenizer
from vrm.train.adapters import with_adapters

WORDS = (
    "the a is of to and you it that in how do what why can i we not with for very safe unsafe short long good bad "
    "user assistant system help plan doctor water city story number answer question please thank sorry sure no yes"
)
FIELDS: dict[str, Any] = {
    "objectives": ["a", "b"],
    "num_free_objectives": 1,
    "num_features": 4,
    "hidden_size_head": 8,
    "max_input_tokens": 64,
}

SIZES = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
BERT = {**SIZES, "max_position_embeddings": 130}
GQA = {**BERT, "num_key_value_heads": 2}
NARROW = {**GQA, "head_dim": 8}
WINDOW = {"sliding_window": 9}
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2}
T5 = {"d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4}
MAMBA_2 = {"mamba_n_heads": 8, "mamba_d_head": 8, "mamba_d_state": 8, "mamba_n_groups": 1, "mamba_chunk_size": 16}
GATED_DELTA = {
    "layer_types": ["linear_attention", "full_attention"],
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
}
VISION = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}


@dataclass(frozen=True)
class Architecture:
    """One row of the page.

    Attributes:
        name: what people call it.
        model_type: what `transformers` calls it.
        values: of its configuration, for two small layers.
        is_bert_like: whether its tokenizer is an encoder's, with `[CLS]` and `[SEP]`.
    """

    name: str
    model_type: str
    values: dict[str, Any]
    is_bert_like: bool = False


DECODERS = [
    Architecture("Llama 2, 3", "llama", GQA),
    Architecture("Llama 4", "llama4_text", {**NARROW, "num_local_experts": 4, "intermediate_size_mlp": 64}),
    Architecture("Qwen 2, 2.5", "qwen2", GQA),
    Architecture("Qwen 3", "qwen3", NARROW),
    Architecture("Gemma 1", "gemma", NARROW),
    Architecture("Gemma 2", "gemma2", NARROW | WINDOW),
    Architecture("Gemma 3, texts", "gemma3_text", NARROW | WINDOW),
    Architecture(
        "Gemma 3, images too",
        "gemma3",
        {"text_config": NARROW | WINDOW, "vision_config": {**VISION, "image_size": 28, "patch_size": 14}},
    ),
    Architecture("Mistral", "mistral", GQA | WINDOW),
    Architecture("Ministral 3", "ministral3", NARROW),
    Architecture("Phi 1, 2", "phi", BERT),
    Architecture("Phi 3, 4", "phi3", GQA),
    Architecture("OLMo 1", "olmo", GQA),
    Architecture("OLMo 2", "olmo2", GQA),
    Architecture("OLMo 3", "olmo3", GQA | WINDOW),
    Architecture("SmolLM 3", "smollm3", GQA),
    Architecture("Granite", "granite", GQA),
    Architecture("Cohere 2", "cohere2", GQA | WINDOW),
    Architecture("GLM 4", "glm4", NARROW),
    Architecture("StableLM", "stablelm", GQA),
    Architecture("GPT-2", "gpt2", {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 130}),
    Architecture("GPT-NeoX, Pythia", "gpt_neox", BERT),
    Architecture("OPT", "opt", {**BERT, "ffn_dim": 64, "word_embed_proj_dim": 32}),
    Architecture("BLOOM", "bloom", {"hidden_size": 32, "n_layer": 2, "n_head": 4}),
    Architecture("Falcon", "falcon", SIZES),
    Architecture("Mixtral", "mixtral", {**GQA, "num_local_experts": 4}),
    Architecture("Qwen 3, experts", "qwen3_moe", NARROW | EXPERTS | {"moe_intermediate_size": 32}),
    Architecture("OLMoE", "olmoe", GQA | EXPERTS),
    Architecture("gpt-oss", "gpt_oss", NARROW | WINDOW | {"num_local_experts": 4, "num_experts_per_tok": 2}),
    Architecture("Mamba", "mamba", {"hidden_size": 32, "num_hidden_layers": 2, "state_size": 8}),
    Architecture(
        "Mamba 2",
        "mamba2",
        {"hidden_size": 32, "num_hidden_layers": 2, "state_size": 8, "num_heads": 8, "head_dim": 8, "n_groups": 1}
        | {"chunk_size": 16},
    ),
    Architecture(
        "Falcon-H1", "falcon_h1", GQA | MAMBA_2 | {"mamba_d_ssm": 64, "ssm_multipliers": [0.5, 2.0, 0.7, 1.5, 3.0]}
    ),
    Architecture(
        "Jamba",
        "jamba",
        {**GQA, "num_experts": 2, "attn_layer_period": 2, "attn_layer_offset": 1, "mamba_d_state": 8}
        | {"mamba_dt_rank": 4},
    ),
    Architecture("Bamba", "bamba", GQA | MAMBA_2 | {"attn_layer_indices": [1]}),
    Architecture("LFM 2", "lfm2", {**GQA, "layer_types": ["conv", "full_attention"]}),
    Architecture(
        "Qwen 3 Next",
        "qwen3_next",
        NARROW | EXPERTS | GATED_DELTA | {"moe_intermediate_size": 32, "shared_expert_intermediate_size": 32},
    ),
    Architecture("RecurrentGemma", "recurrent_gemma", {**NARROW, "lru_width": 32, "attention_window_size": 16}),
]
ENCODERS = [
    Architecture("BERT", "bert", BERT, True),
    Architecture("RoBERTa", "roberta", BERT, True),
    Architecture("XLM-R", "xlm-roberta", BERT, True),
    Architecture("ELECTRA", "electra", {**BERT, "embedding_size": 32}, True),
    Architecture("ALBERT", "albert", {**BERT, "embedding_size": 16}, True),
    Architecture(
        "DistilBERT",
        "distilbert",
        {"dim": 32, "hidden_dim": 64, "n_layers": 2, "n_heads": 4, "max_position_embeddings": 130},
        True,
    ),
    Architecture("MPNet", "mpnet", BERT, True),
    Architecture("DeBERTa", "deberta", {**BERT, "relative_attention": True, "pos_att_type": ["c2p", "p2c"]}, True),
    Architecture(
        "DeBERTa 2, 3",
        "deberta-v2",
        {**BERT, "relative_attention": True, "pos_att_type": ["p2c", "c2p"], "position_buckets": 16}
        | {"norm_rel_ebd": "layer_norm", "share_att_key": True, "position_biased_input": False},
        True,
    ),
    Architecture("ModernBERT", "modernbert", {**BERT, "local_attention": 8, "global_attn_every_n_layers": 2}, True),
    Architecture("EuroBERT", "eurobert", GQA, True),
    Architecture("NomicBERT", "nomic_bert", BERT, True),
    Architecture("XLNet", "xlnet", {"d_model": 32, "n_layer": 2, "n_head": 4, "d_inner": 64}, True),
    Architecture("EmbeddingGemma", "gemma3_text", NARROW | WINDOW | {"use_bidirectional_attention": True}, True),
    Architecture("T5, its encoder", "t5", T5),
    Architecture("mT5, its encoder", "mt5", T5),
]
REFUSED = [
    Architecture("FNet", "fnet", BERT, True),
    Architecture("ConvBERT", "convbert", BERT, True),
    Architecture(
        "Pegasus",
        "pegasus",
        {"d_model": 32, "encoder_layers": 1, "decoder_layers": 1, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64}
        | {"encoder_attention_heads": 4, "decoder_attention_heads": 4},
    ),
]


def save_backbone(architecture: Architecture, directory: Path) -> None:
    """A random backbone with a tokenizer, as `save_pretrained` leaves them."""
    characters = [chr(code) for code in range(33, 127) if not chr(code).isupper()]
    tokenizer = (
        wordpiece_tokenizer([*characters, *(f"##{char}" for char in characters), *WORDS.split()])
        if architecture.is_bert_like
        else byte_level_tokenizer([f"{WORDS}\n\n{WORDS}\n"] * 4, size=360)
    )
    values = dict(architecture.values)
    sizes = {"vocab_size": len(tokenizer), "pad_token_id": tokenizer.pad_token_id, "initializer_range": 0.2}
    if "text_config" in values:
        values["text_config"] = values["text_config"] | sizes
    else:
        values |= sizes
    with torch.random.fork_rng():
        torch.manual_seed(0)
        AutoModel.from_config(AutoConfig.for_model(architecture.model_type, **values)).save_pretrained(directory)
    tokenizer.save_pretrained(directory)


def load(directory: Path) -> tuple[VRMForSequenceClassification, Any]:
    """A model around such a backbone, and the tokenizer, as training makes them."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = VRMForSequenceClassification.from_backbone(str(directory), **FIELDS).eval()
    tokenizer = AutoTokenizer.from_pretrained(directory)
    ensure_chat_template(tokenizer, model.config.backbone_kind)
    model.config.update(describe_prompts(tokenizer))
    return model, tokenizer


def route_of(model: VRMForSequenceClassification) -> str:
    """Whether rows are packed, and if not, why."""
    return "packed" if model.packing_problem is None else f"padded: {model.packing_problem}"


def adapted(model: Any) -> list[str]:
    """Names of the modules that have adapters."""
    names = (name.split(".lora_")[0] for name, _ in model.named_parameters() if ".lora_" in name)
    return sorted({name.rpartition(".")[2] for name in names})


def row_of(architecture: Architecture, model: VRMForSequenceClassification) -> str:
    """The architecture's row on the page; adapters are put into `model`."""
    kind, route = model.config.backbone_kind, route_of(model)
    targets = ", ".join(f"`{name}`" for name in adapted(with_adapters(model, LoraSettings(r=2))))
    return f"| {architecture.name} | `{architecture.model_type}` | {kind} | {route} | {targets} |"


def refusal_of(architecture: Architecture, directory: Path) -> str:
    """The row of one that is refused: what the user reads."""
    save_backbone(architecture, directory)
    try:
        load(directory)
    except VrmError as error:
        message = str(error).removeprefix(f"{directory / 'config.json'}: ")
        return f"| {architecture.name} | `{architecture.model_type}` | {message} |"
    raise AssertionError(f"{architecture.model_type} is not refused")


HEAD = f"""\
# Backbones

<!-- Written by studies/backbones.py; change it there and run `python -m studies.backbones > docs/backbones.md`. -->

`model.backbone` is a directory or Hub name of any model that `AutoModel` loads. The tables say what becomes of each
architecture, with `transformers` {__version__}. Each was made with random weights and two small layers, saved, and
loaded from its directory. Architectures that are not in the tables may work as well; nobody has looked.

For every row of the first two tables, tests check that

- rewards of packed rows, of padded rows and of single texts are the same in float32;
- the prompt's end is found in ids alone, whatever the side of the padding;
- the model saves and loads, and its rewards stay;
- default adapters train, save, load and merge;
- for one row of each kind, what `vrm export --remote-code` writes loads without this package and gives equal rewards.

*Rows* says whether prompts are shared and nothing is padded ([performance.md](performance.md)), and if not, the reason
that a warning gives too. Padded rows are right, and slower. *Adapters* are the modules that `model.tuning: lora` takes
when `model.lora.target_modules` names none. They are PEFT's where it knows the architecture. Elsewhere they are the
query and value projections, if every layer has these by a usual name, or else all linear maps; a line says so when
training begins. State-space layers keep adapters off `conv1d`, `x_proj`, `dt_proj` and `out_proj`, whose weights CUDA
kernels read past the adapter.
"""
TAIL = """
## Tokenizers

`tests/unit/model/test_odd_tokenizers.py` builds, saves and loads models on the following, and compares rewards of texts
together and alone: byte-level BPE without a padding token, and without EOS; SentencePiece (Unigram) with the special
tokens of Llama 2, of RoBERTa and of T5; an encoder without a padding token.

- No padding token is needed: padding is masked, whatever stands there.
- Without a chat template, encoders get one of this package: `[CLS] prompt [SEP] completion [SEP]`, with EOS where there
  is no `[SEP]`. Decoders without one read plain text alone, and an error says so of messages.
- A template that forbids a system turn, or demands that roles alternate, refuses such rows in its own words.
  `data.on_bad_rows: skip` leaves them out and counts them.
- Without a template no pattern ends a prompt, so callers that pass ids alone pass `completion_start` too.
"""
COLUMNS = "| backbone | `model_type` | read as | rows | adapters |\n|---|---|---|---|---|"


def page() -> Iterator[str]:
    """The lines of docs/backbones.md."""
    yield HEAD
    with tempfile.TemporaryDirectory() as folder:
        for title, rows in (("Decoders", DECODERS), ("Encoders", ENCODERS)):
            yield f"## {title}\n\n{COLUMNS}"
            for number, architecture in enumerate(rows):
                directory = Path(folder, title, str(number))
                save_backbone(architecture, directory)
                yield row_of(architecture, load(directory)[0])
            yield ""
        yield "## Refused\n\n| backbone | `model_type` | what the error says |\n|---|---|---|"
        for architecture in REFUSED:
            yield refusal_of(architecture, Path(folder, architecture.model_type))
        yield TAIL.rstrip()


if __name__ == "__main__":
    for line in page():
        print(line)
