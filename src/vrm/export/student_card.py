"""The card of a plain student: what it is, how well it follows its teacher, and what it lost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from vrm.choices import StudentTuning
from vrm.export.markdown import card, code, number, share, table
from vrm.metrics import Agreement
from vrm.results.distillation import DistillationDocument
from vrm.results.formats import plural

FORMS = {
    "as_rendered": "the chat template's text (vLLM, SGLang, TRL)",
    "without_line_ends": "the same without line ends at its end (OpenRLHF)",
}

AGREEMENT_HEAD = ("text", "completions", "Pearson", "Spearman", "pairs ordered alike", "mean difference", "largest")


def agreement_rows(agreements: Mapping[str, Agreement]) -> list[list[str]]:
    """A line a form of the text, the cells of `AGREEMENT_HEAD`."""
    return [
        [
            FORMS[name],
            f"{agreement.count:,}",
            number(agreement.pearson),
            number(agreement.spearman),
            f"{share(agreement.pairwise)} of {agreement.pairs:,}",
            number(agreement.mean_difference),
            number(agreement.max_difference),
        ]
        for name, agreement in agreements.items()
    ]


def student_card(name: str, document: DistillationDocument) -> str:
    """Card of a student as Markdown with front matter.

    Args:
        name: of the student.
        document: what `distillation.json` holds.
    """
    fields = {
        "license": document.license,
        "base_model": document.backbone,
        "tags": ["reward-model", "distillation"],
    }
    sections = {
        "": _summary(document),
        "How well it follows its teacher": _agreement(document),
        "What was lost": _lost(document),
        "How to load": _loading(name, document),
        "How it was made": _made(document),
    }
    return card(name, fields, sections)


def _summary(document: DistillationDocument) -> str:
    return (
        f"A reward model of the plain kind, `{document.architecture}` with one output, for loaders that know "
        f"nothing else. It imitates the mean reward of a VRM (head `{document.teacher.head}`, package `vrm`), "
        "which says more and should be preferred wherever it can be loaded."
    )


def _agreement(document: DistillationDocument) -> str:
    rows, spread = document.rows, document.teacher.reward_std
    return "\n\n".join(
        [
            f"On {plural(rows.held_out, 'row')} whose prompts it was not trained on:",
            table(AGREEMENT_HEAD, agreement_rows(document.agreement)),
            f"Differences are in units of the reward; the teacher's rewards there have a standard deviation of "
            f"{spread:.3f}. Pairs are completions of one row to which the teacher gives different rewards.",
        ]
    )


def _lost(document: DistillationDocument) -> str:
    lines = [
        "No uncertainty: no variance, no interval, no pessimistic reward.",
        "No objective weights and no objective scores: it does not explain itself, and it cannot be steered.",
        "The reward itself is approximate, by the table above; outside of data like that it may differ more.",
        "Texts that spell special tokens are read as those tokens by plain loaders; the teacher's own code reads them "
        "as text, so that a completion cannot forge its end or another turn.",
    ]
    if document.fresh_parameters and document.tuning == StudentTuning.HEAD:
        layers = ", ".join(f"`{name}`" for name in document.fresh_parameters)
        lines.append(
            f"Between backbone and score stand layers that this architecture has and the teacher has not ({layers}): "
            "they are random, with the seed below, and only the score layer was fitted."
        )
    return "\n".join(f"- {line}" for line in lines)


def _loading(name: str, document: DistillationDocument) -> str:
    if document.conversational:
        text = (
            'messages = [{"role": "user", "content": "..."}, {"role": "assistant", "content": "..."}]\n'
            "text = tokenizer.apply_chat_template(messages, tokenize=False)\n"
            'reward = model(**tokenizer(text, return_tensors="pt", add_special_tokens=False)).logits[0, 0]'
        )
        note = "The chat template writes special tokens itself: do not let the tokenizer add them again."
    else:
        text = (
            'text = "prompt" + "completion" + (tokenizer.eos_token or "")\n'
            'reward = model(**tokenizer(text, return_tensors="pt")).logits[0, 0]'
        )
        note = "It reads plain text: prompt, completion and the end token."
    python = (
        "from transformers import AutoModelForSequenceClassification, AutoTokenizer\n\n"
        f'model = AutoModelForSequenceClassification.from_pretrained("{name}").eval()\n'
        f'tokenizer = AutoTokenizer.from_pretrained("{name}")\n{text}'
    )
    limit = f"Texts up to {document.max_input_tokens:,} tokens were seen in training."
    return f"{code('python', python)}\n\n{note} {limit}"


def _terms_of(document: DistillationDocument) -> str:
    return "the backbone and the teacher" if document.backbone else "the teacher"


def _made(document: DistillationDocument) -> str:
    rows: list[Sequence[str]] = [
        ["teacher", f"`{document.teacher.name}`, weights {document.teacher.sha256 or 'of unknown hash'}"],
        ["fitted", "the score layer, by ridge regression" if document.tuning == StudentTuning.HEAD else "all weights"],
        *([name.replace("_", " "), f"{value:g}"] for name, value in document.settings.items()),
        ["rows", f"{document.rows.train:,} for training, {document.rows.held_out:,} held out by prompt"],
        ["left out", f"{plural(document.rows.overlong, 'row')} over the limit of tokens"],
        ["license", document.license or f"not stated by whoever made it; the terms of {_terms_of(document)} apply too"],
        ["versions", ", ".join(f"{name} {version}" for name, version in document.versions.items())],
    ]
    return table(["", ""], rows)
