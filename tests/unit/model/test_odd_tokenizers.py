"""Tokenizers without padding, without an end, of SentencePiece's kind, and templates that refuse what others take."""

from __future__ import annotations

import pytest
import torch
from studies.backbones import DECODERS, ENCODERS, FIELDS, WORDS
from transformers import AutoConfig, AutoModel

from vrm.config import DataConfig, ModelConfig, RunConfig
from vrm.data.schema import Judgment
from vrm.errors import ConfigError, DataError
from vrm.inference.engine import RewardEngine
from vrm.inference.extraction import ExtractionOptions
from vrm.model import load_model, save_model
from vrm.testing import byte_level_tokenizer
from vrm.train.setup import RunData, build_model

pytestmark = pytest.mark.heavy

STRICT = (
    "{%- for message in messages -%}"
    "{%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) -%}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{%- endif -%}"
    "{%- if message['role'] == 'user' -%}{{ bos_token }}[INST] {{ message['content'] }} [/INST]"
    "{%- else %} {{ message['content'] }}{{ eos_token }}{%- endif -%}{%- endfor -%}"
)
"""Llama 2's and Mistral's: no system turn, and roles that alternate."""


def user(text):
    return {"role": "user", "content": text}


def answer(text):
    return [{"role": "assistant", "content": text}]


def bytes_without(*absent):
    def make():
        tokenizer = byte_level_tokenizer([f"{WORDS}\n\n{WORDS}\n"] * 4, size=360)
        for name in absent:
            setattr(tokenizer, name, None)
        return tokenizer

    return make


def unigram(chat_template=None, **specials):
    """A tiny SentencePiece vocabulary, whose pieces begin with the mark of a space."""

    def make():
        from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
        from transformers import PreTrainedTokenizerFast

        tokenizer = Tokenizer(models.Unigram())
        tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
        letters = [chr(code) for code in range(33, 127)]
        trainer = trainers.UnigramTrainer(
            vocab_size=200,
            special_tokens=["<unk>", "<s>", "</s>"],
            unk_token="<unk>",
            initial_alphabet=letters,
            show_progress=False,
        )
        tokenizer.train_from_iterator([WORDS] * 4, trainer)
        names = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>", **specials}
        return PreTrainedTokenizerFast(tokenizer_object=tokenizer, chat_template=chat_template, **names)

    return make


TOKENIZERS = {
    "no padding": ("llama", bytes_without("pad_token")),
    "no padding, no end": ("llama", bytes_without("pad_token", "eos_token")),
    "SentencePiece, strict template": ("llama", unigram(STRICT)),
    "SentencePiece, no template": ("llama", unigram()),
    "no template, no end": ("mamba", unigram(eos_token=None)),
    "SentencePiece, of RoBERTa's kind": ("xlm-roberta", unigram(cls_token="<s>", sep_token="</s>", pad_token="<unk>")),
    "SentencePiece, of T5's kind": ("t5", unigram(bos_token=None, pad_token="<unk>")),
    "an encoder without padding": ("bert", unigram(cls_token="<s>", sep_token="</s>")),
}
ARCHITECTURES = {architecture.model_type: architecture for architecture in (*DECODERS, *ENCODERS)}
TEXTS = ["very good", "no", "please help the water city doctor", "\n\nthe plan"]


@pytest.fixture(params=TOKENIZERS)
def built(request, tmp_path):
    """A model and its tokenizer as training makes and saves them, and whether it has a template."""
    architecture, make = TOKENIZERS[request.param]
    tokenizer = make()
    values = ARCHITECTURES[architecture].values | {"vocab_size": len(tokenizer), "initializer_range": 0.2}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        AutoModel.from_config(AutoConfig.for_model(architecture, **values)).save_pretrained(tmp_path / "backbone")
        tokenizer.save_pretrained(tmp_path / "backbone")
        settings = {name: value for name, value in FIELDS.items() if name != "objectives"}
        messages = Judgment([user("how")], [answer("good"), answer("bad")])
        rows = [Judgment("how", ["good", "bad"]) if "no template" in request.param else messages]
        config = RunConfig(
            output_dir=str(tmp_path),
            data=DataConfig(train="rows.jsonl"),
            model=ModelConfig(backbone=str(tmp_path / "backbone"), head="vrm", **settings),
        )
        model, tokenizer = build_model(config, RunData(rows, [], ["a", "b"], ""))
        for parameter in model.score.parameters():
            parameter.data += 0.5 * torch.randn_like(parameter)
    save_model(model, tokenizer, tmp_path / "model")
    model, tokenizer = load_model(tmp_path / "model")
    return model, tokenizer, bool(tokenizer.chat_template)


def test_rewards_do_not_depend_on_the_company_and_the_prompt_s_end_is_found(built):
    model, tokenizer, has_template = built
    engine = RewardEngine(model, tokenizer, ExtractionOptions(precision="float32"))
    if has_template:
        row = Judgment([user("how can i help")], [answer(text) for text in TEXTS])
    else:
        row = Judgment("how can i help ", TEXTS)
    rewards = engine.judge([row]).moments.mean[0]
    assert len({round(value, 5) for value in rewards.tolist()}) == len(TEXTS)
    alone = [Judgment(row.prompt, [completion]) for completion in row.completions]
    torch.testing.assert_close(rewards, engine.judge(alone).moments.mean[:, 0], rtol=1e-4, atol=1e-4)

    assert (model.config.prompt_boundary_ids is not None) == has_template
    (tokens,) = engine.tokenize.many([row])
    for index, completion in enumerate(tokens.completions):
        ids = torch.tensor([[*tokens.prompt, *completion]])
        start = None if has_template else torch.tensor([len(tokens.prompt)])
        with torch.no_grad():
            found = model(ids, completion_start=start).logits[0, 0]
        torch.testing.assert_close(found, rewards[index], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("built", ["SentencePiece, strict template"], indirect=True)
@pytest.mark.parametrize("turns", [[{"role": "system", "content": "short"}, user("how")], [user("how"), user("why")]])
def test_what_a_strict_template_refuses_is_said_in_one_line(built, turns):
    model, tokenizer, _ = built
    with pytest.raises(DataError, match="refuses these messages: Conversation roles must alternate") as caught:
        RewardEngine(model, tokenizer).judge([Judgment(turns, [answer("good")])])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("built", ["SentencePiece, no template"], indirect=True)
def test_messages_without_a_template_are_refused_in_one_line(built):
    model, tokenizer, _ = built
    with pytest.raises(ConfigError, match="the row holds messages but the tokenizer has no chat template") as caught:
        RewardEngine(model, tokenizer).judge([Judgment([user("how")], [answer("good")])])
    assert "\n" not in str(caught.value)
