"""What the native API takes and gives, typed: the server and its client share these models."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Strict, Tag

from vrm.choices import RewardScale, Risk, Role
from vrm.wire.explanation import CompletionReport, Identifiability, PairReport, RaterReport, WeightReport
from vrm.wire.posterior import PosteriorReport
from vrm.wire.sentences import CompletionSentences

AS_TEXT, AS_MESSAGES, AS_LIST = "as_text", "as_messages", "as_list"
"""Tags of the forms of texts and contents, as they stand in the places of validation errors."""


class Request(BaseModel):
    """A body of a request: unknown fields and values of another type are errors, nothing is ignored."""

    model_config = ConfigDict(extra="forbid", strict=True)


class TextPart(BaseModel):
    """A part of a message's content, as OpenAI's API sends them. Further keys are not read."""

    model_config = ConfigDict(extra="allow", strict=True)

    type: Literal["text"]
    text: str


def _text_or_list(value: Any) -> str:
    return AS_LIST if isinstance(value, list) else AS_TEXT


Content = Annotated[
    Annotated[str, Tag(AS_TEXT)] | Annotated[list[TextPart], Tag(AS_LIST)], Discriminator(_text_or_list)
]
"""A text, or parts of one, which are joined as they are."""

Texts = Annotated[Annotated[str, Tag(AS_TEXT)] | Annotated[list[str], Tag(AS_LIST)], Discriminator(_text_or_list)]
"""One text, or several."""


class Message(BaseModel):
    """One chat message. Further keys (`tool_calls`, `name`, ...) go to the model's chat template as they are."""

    model_config = ConfigDict(extra="allow", strict=True)

    role: Annotated[Role, Strict(False)]
    content: Content | None = Field(
        "", description="Text of the message, or a list of text parts; empty or null where it only calls tools."
    )


def _form(value: Any) -> str:
    return AS_MESSAGES if isinstance(value, list) else AS_TEXT


Text = Annotated[
    Annotated[str, Tag(AS_TEXT)] | Annotated[list[Message], Tag(AS_MESSAGES), Field(min_length=1)],
    Discriminator(_form),
]
"""A plain text, or chat messages."""

Beta = Annotated[float, Field(ge=1e-6, le=1e6)]
"""The beta of an effective reward, in units of the reward: bounded for the same reason."""

Amount = Annotated[float, Field(ge=0, le=1e6)]
"""A count of emphasis, or kappa: bounded, so that rewards stay finite in float32."""


class JudgmentRequest(Request):
    """Completions of one prompt, judged together, and steering."""

    prompt: Text = Field(description="Plain text, or the messages of a conversation up to the completion.")
    completions: list[Text] = Field(
        min_length=1,
        description="Texts, or lists of messages that end with the assistant's. An empty text is a completion too: "
        "policies do write them. A text under a prompt of messages is the assistant's message.",
    )
    tools: list[dict[str, Any]] | None = Field(None, description="Tool definitions for the model's chat template.")
    emphasis: dict[str, Amount] = Field(
        default_factory=dict,
        description="Steering: {objective: count}, added to the concentration of the objective's weight. "
        "`total_concentration` says how much a count moves.",
    )
    without: list[str] = Field(default_factory=list, description="Steering: objectives left out; their weight is 0.")
    rater: str | None = Field(
        None, description="Whose judgments are asked for, of the raters that `vrm adapt` made known; null: anybody's."
    )


_EXAMPLE: dict[str, Any] = {
    "prompt": "How do I boil an egg?",
    "completions": ["Ten minutes in boiling water.", "No idea."],
}


class ScoreRequest(JudgmentRequest):
    """What to score."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                _EXAMPLE,
                {
                    "prompt": [{"role": "user", "content": "How do I boil an egg?"}],
                    "completions": ["Ten minutes in boiling water."],
                    "kappa": 1.0,
                },
            ]
        }
    )

    kappa: Amount | None = Field(None, description="Adds `pessimistic_rewards`: mean minus kappa standard deviations.")
    risk: Annotated[Risk, Strict(False)] | None = Field(
        None, description="`pessimistic` with `kappa`, `exponential` with `beta`. Default: as the number says."
    )
    beta: Beta | None = Field(
        None,
        description="Adds `effective_rewards`, -beta log E exp(-r / beta), in units of the rewards. Not with `kappa`.",
    )
    probabilities: bool = Field(
        True, description="Whether to give `probabilities`; their cost grows with the square of the completions."
    )
    reward_scale: Annotated[RewardScale, Strict(False)] | None = Field(
        None,
        description="`standardized`: by mean and spread of rewards on the held-out rows. Default: as the model is set.",
    )


class ExplainRequest(JudgmentRequest):
    """What to explain."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    sentences: bool = Field(
        False, description="Adds what each sentence adds to the reward, by judging the completion without it."
    )
    posterior: bool = Field(
        False,
        description="Adds the distributions before emphasis and leaving out: with them a program can steer on its own "
        "side, as the page `/explore` does.",
    )


class Answer(BaseModel):
    """A body of an answer. Fields that a later server adds are kept by an earlier client."""

    model_config = ConfigDict(extra="allow")


class ScoreResponse(Answer):
    """Rewards of the completions, in the order given; the names are those of `vrm score`'s output."""

    model: str = Field(description="Name of the model that is served.")
    reward_scale: RewardScale
    rewards: list[float] = Field(description="E[r], one number a completion.")
    reward_std: list[float] = Field(description="Standard deviation of r; 0 for heads that have no uncertainty.")
    kappa: float | None = None
    beta: float | None = None
    effective_rewards: list[float] | None = Field(
        None, description="-beta log E exp(-r / beta), the certain rewards worth as much; null without beta."
    )
    pessimistic_rewards: list[float] | None = Field(None, description="E[r] - kappa sqrt(Var[r]); null without kappa.")
    unfamiliarity: list[float] | None = Field(
        None,
        description="How unlike the training texts each completion is: above 1 for one familiar text in twenty. Null "
        "for models that keep nothing of their training texts.",
    )
    objective_weights: dict[str, float] = Field(
        description="E[w] for this prompt; they sum to 1. A rater's tilt is not in them."
    )
    rater_tilt: dict[str, float] | None = Field(
        None, description="What the rater adds to the weights, b of (16); null where none was named."
    )
    total_concentration: float | None = Field(
        description="Of the weights' Dirichlet, emphasis included; null where weights carry no uncertainty."
    )
    objective_scores: list[dict[str, float]] = Field(description="One object a completion: {objective: score}.")
    probabilities: list[list[float]] | None = Field(
        description="probabilities[i][j] is the probability that completion i is preferred to completion j, both "
        "judged under the same weights; 0.5 on the diagonal."
    )
    p_tie: list[list[float]] | None = Field(
        None,
        description="p_tie[i][j] is the probability that a rater calls completions i and j a tie; 0 for models of "
        "several raters who never tied, null where training had neither. With `probabilities`.",
    )
    disagreement: list[list[float]] | None = Field(
        None,
        description="disagreement[i][j] is the probability that two raters say something different of completions i "
        "and j; null where no pair of the training data was judged by two. With `probabilities`.",
    )
    truncated: bool = Field(description="Whether prompt or completions were cut to the model's limit of tokens.")
    tokens: int = Field(description="Tokens of the prompt and of all completions, as the model read them.")


class ExplainResponse(Answer):
    """Why the model prefers one completion to another: `vrm.wire.explanation.Explanation`, with the model's name."""

    model: str = Field(description="Name of the model that is served.")
    prompt: str
    head: str
    level: float = Field(description="Probability that intervals cover.")
    weights: list[WeightReport]
    total_concentration: float | None
    emphasis: dict[str, float]
    without: list[str]
    counts_meaning: str
    completions: list[CompletionReport]
    pairs: list[PairReport] = Field(description="All pairs of up to four completions; else the best against each.")
    identifiability: Identifiability
    notes: list[str]
    judged_as: RaterReport | None = Field(None, description="Whose judgments these are; null for anybody's.")
    sentences: list[CompletionSentences] | None = Field(
        None, description="Of each completion; null unless `sentences` was asked for."
    )
    posterior: PosteriorReport | None = Field(None, description="Null unless `posterior` was asked for.")


class VersionResponse(Answer):
    """What is served."""

    version: str = Field(description="Of the package.")
    model: str
    head: str
    objectives: list[str]
    reward_scale: RewardScale
    max_input_tokens: int
    on_overlong: str


class ErrorDetail(BaseModel):
    """What is wrong, as OpenAI's and vLLM's errors say it."""

    message: str
    type: str
    param: str | None = Field(None, description="The field that is wrong.")
    code: int = Field(description="The HTTP status.")


class ErrorResponse(BaseModel):
    """The body of every answer that is no success."""

    error: ErrorDetail
