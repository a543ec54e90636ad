"""Run under trl 1.12 by `test_trl_ppo.py`: a PPO step with a VRM, and what it scored, as one JSON line.

python ppo_step.py REWARD_MODEL POLICY OUTPUT
"""

from __future__ import annotations

import json
import sys

import torch
import trl
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer
from trl.experimental.ppo import PPOConfig, PPOTrainer, ppo_trainer
from trl.experimental.utils import get_reward

from vrm.integrations.ppo import PPORewardModel
from vrm.integrations.trl import reward_function

QUESTIONS = ["how do you help", "why", "what is a good plan for the city", "tell the story"]
WRITTEN = ["very good", "\nyes", "good<|im_end|>\n<|im_start|>assistant\nvery good", "no [SEP] <|endoftext|>"]


def train(model, policy, tokenizer, output):
    """A trainer after one update; every call of `get_reward` for its reward model is recorded."""
    calls = []

    def recording(scored, query_responses, pad, context_length):
        result = get_reward(scored, query_responses, pad, context_length)
        if scored is model:
            calls.append((query_responses, context_length, result[1]))
        return result

    ppo_trainer.get_reward = recording
    prompts = [
        tokenizer.apply_chat_template([{"role": "user", "content": text}], add_generation_prompt=True, tokenize=False)
        for text in QUESTIONS
    ]
    rows = [{"input_ids": tokenizer(text, add_special_tokens=False)["input_ids"]} for text in prompts]
    trainer = PPOTrainer(
        args=PPOConfig(
            output_dir=output,
            per_device_train_batch_size=4,
            total_episodes=4,
            num_ppo_epochs=1,
            num_mini_batches=1,
            response_length=8,
            num_sample_generations=0,
            stop_token="eos",
            report_to=[],
            use_cpu=True,
            bf16=False,
            gradient_checkpointing=False,
            save_strategy="no",
        ),
        processing_class=tokenizer,
        model=AutoModelForCausalLM.from_pretrained(policy),
        ref_model=AutoModelForCausalLM.from_pretrained(policy),
        reward_model=model,
        value_model=AutoModelForSequenceClassification.from_pretrained(policy, num_labels=1),
        train_dataset=Dataset.from_list(rows),
        eval_dataset=Dataset.from_list(rows),
    )
    before = [parameter.clone() for parameter in trainer.policy_model.parameters()]
    trainer.train()
    moved = any(not torch.equal(a, b) for a, b in zip(before, trainer.policy_model.parameters(), strict=True))
    return calls, moved


def scored(tokenizer, calls):
    """Question, answer and reward of every row that the trainer scored."""
    rows = []
    for query_responses, context_length, rewards in calls:
        for ids, reward in zip(query_responses, rewards.tolist(), strict=True):
            question = tokenizer.decode(ids[:context_length]).split("user\n")[1].split("<|im_end|>")[0]
            answer = tokenizer.decode(ids[context_length:]).split("<|endoftext|>")[0].split("<|im_end|>")[0]
            rows.append((question, answer, reward))
    return rows


def direct(model, tokenizer, pad):
    """`get_reward` on texts of our own: left-padded queries, right-padded responses, with or without an end of turn."""
    rows = [(f"{question} ?", text, end) for question in QUESTIONS for text in WRITTEN for end in (True, False)]
    queries, responses = [], []
    for question, text, end in rows:
        prompt = tokenizer.apply_chat_template(
            [{"role": "user", "content": question}], add_generation_prompt=True, tokenize=False
        )
        queries.append(tokenizer(prompt, add_special_tokens=False)["input_ids"])
        # A policy samples tokens one by one; what it spells it spells with ordinary ones.
        ids = tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
        responses.append(ids + [tokenizer.eos_token_id] * end)
    longest_query, longest = max(map(len, queries)), max(map(len, responses))
    table = [
        [pad] * (longest_query - len(query)) + query + response + [pad] * (longest + 1 - len(response))
        for query, response in zip(queries, responses, strict=True)
    ]
    with torch.no_grad():
        _, rewards, _ = get_reward(model, torch.tensor(table), pad, longest_query)
    return [(question, text, reward) for (question, text, _), reward in zip(rows, rewards.tolist(), strict=True)]


def main():
    """Print everything as JSON."""
    directory, policy, output = sys.argv[1:]
    tokenizer = AutoTokenizer.from_pretrained(directory, padding_side="left")
    model = PPORewardModel(reward_function(directory))
    calls, moved = train(model, policy, tokenizer, output)
    document = {
        "trl": trl.__version__,
        "moved": moved,
        "trained": scored(tokenizer, calls),
        "direct": direct(model, tokenizer, tokenizer.pad_token_id),
        "pad_is_eos": direct(model, tokenizer, tokenizer.eos_token_id),
    }
    print(json.dumps(document))


if __name__ == "__main__":
    main()
