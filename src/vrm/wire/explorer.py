"""What the page `/explore` asks for beside explanations, typed: what is served, rows to browse, random numbers."""

from __future__ import annotations

from pydantic import Field

from vrm.wire.schema import Answer, Text


class ServedModel(Answer):
    """A model that the page can ask.

    Attributes are those of the page's header, and what it may offer.
    """

    path: str = Field(description="Prefix of its routes: empty, or `/second`.")
    name: str
    source: str = Field(description="MODEL, as a command takes it.")
    head: str
    objectives: list[str]
    raters: list[str] = Field(description="Raters that `vrm adapt` made known, by name.")
    raters_by: str | None = Field(None, description="The column that named them.")
    can_emphasize: bool = Field(description="Whether its weights have a concentration that counts can be added to.")


class ExplorerResponse(Answer):
    """What the page begins with."""

    version: str
    models: list[ServedModel]
    max_completions: int = Field(description="That one request explains.")
    max_sentences: int = Field(description="Of all completions of a request, that are left out in turn.")
    rows: int = Field(description="Of `/v1/rows`; 0 without a file.")


class RowSummary(Answer):
    """A row of the file, without its texts but for the beginning of the prompt."""

    line: int = Field(description="Line (or row) number in the file.")
    prompt: str = Field(description="How the prompt begins.")
    category: str | None = None
    completions: int
    has_chosen: bool = Field(True, description="Whether the first completion is the one that judges chose.")
    margin: float | None = Field(None, description="E[r] of the first completion minus the best of the others.")
    probability: float | None = Field(None, description="That the first is preferred to the second.")
    disagreement: float | None = Field(None, description="That two raters differ on the first two; null if unknown.")
    unfamiliarity: float | None = Field(None, description="Of the least familiar completion; null for older models.")
    other_probability: float | None = Field(None, description="By the second model; null without one.")


class RowsResponse(Answer):
    """The rows that can be browsed."""

    file: str | None = Field(None, description="As the command named it.")
    note: str = Field("", description="What of the file is not here, in words; empty if all is.")
    first: int = Field(0, description="Place of the row to begin with.")
    rows: list[RowSummary]


class RowResponse(Answer):
    """The texts of a row."""

    line: int
    prompt: Text
    completions: list[Text]
    note: str = Field("", description="What of the row is not here, in words; empty if all is.")


class DrawsResponse(Answer):
    """The random numbers behind the fixed draws of weights, for so many objectives.

    With them a program computes the probabilities of the native API, to the last digits.
    """

    boosts: list[list[list[float]]] = Field(description="log U of each step, (steps, draws, objectives).")
    normals: list[list[list[float]]] = Field(description="Of each proposal, (trials, draws, objectives).")
    log_uniforms: list[list[list[float]]] = Field(description="log U of each proposal, likewise.")
    nodes: dict[str, list[list[float]]] = Field(
        description="Gauss-Hermite nodes and their log-weights under N(0, 1), by their number."
    )
