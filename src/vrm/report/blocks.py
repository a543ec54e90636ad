"""What a page is made of: sections of paragraphs, tables, charts and folds, as values that the template prints.

Texts are plain and untrusted; the template escapes them. The only markup is a chart's SVG, which `charts` has made.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal, TypeAlias

Tone: TypeAlias = Literal["", "muted", "good", "bad", "warn"]


@dataclass(frozen=True, slots=True)
class Cell:
    """A table's cell.

    Attributes:
        text: what it says.
        detail: said after it in a lighter tone, such as an interval.
        strong: in bold: the best, and known to be.
        tone: its colour.
        shade: in [0, 1], depth of its background in a heat map; None for none.
        bar: in [-1, 1], length of a bar to the right or left of a middle line, above the text; None for none.
    """

    text: str
    detail: str = ""
    strong: bool = False
    tone: Tone = ""
    shade: float | None = None
    bar: float | None = None


@dataclass(frozen=True, slots=True)
class Column:
    """A table's column; numbers are set to the right, sentences are broken into lines."""

    title: str
    numeric: bool = True
    sentences: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """A table that scrolls in its own box where it is too wide.

    Attributes:
        columns: their titles.
        rows: cells, as many in each row as columns.
        caption: below it.
        parts: {row: title of the part of the table that begins with it}.
    """

    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    caption: str = ""
    parts: Mapping[int, str] = field(default_factory=dict)
    kind: ClassVar[str] = "table"

    @classmethod
    def in_parts(
        cls, columns: Sequence[Column], parts: Iterable[tuple[str, Sequence[Sequence[Cell]]]], caption: str = ""
    ) -> Table:
        """A table of parts. A part without rows has no title in it, and an empty title no line."""
        rows: list[Sequence[Cell]] = []
        titles: dict[int, str] = {}
        for title, part in parts:
            if title and part:
                titles[len(rows)] = title
            rows += part
        return cls(columns, rows, caption, titles)


@dataclass(frozen=True, slots=True)
class Paragraph:
    """A paragraph; line ends in its text are kept if `preserve`."""

    text: str
    tone: Tone = ""
    preserve: bool = False
    kind: ClassVar[str] = "paragraph"


@dataclass(frozen=True, slots=True)
class Command:
    """A command to be copied into a terminal, and what it does."""

    purpose: str
    text: str
    kind: ClassVar[str] = "command"


@dataclass(frozen=True, slots=True)
class Bullets:
    """A list of sentences, each with a tone."""

    items: Sequence[tuple[str, Tone]]
    kind: ClassVar[str] = "bullets"


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart: its SVG, what it shows in words, and a caption."""

    svg: str
    title: str
    caption: str = ""
    kind: ClassVar[str] = "chart"


@dataclass(frozen=True, slots=True)
class Charts:
    """Charts side by side as far as the page is wide."""

    items: Sequence[Chart]
    kind: ClassVar[str] = "charts"


@dataclass(frozen=True, slots=True)
class Heading:
    """A heading inside a section."""

    text: str
    kind: ClassVar[str] = "heading"


@dataclass(frozen=True, slots=True)
class Fold:
    """Blocks behind a line that opens them."""

    summary: str
    blocks: Sequence[Block]
    detail: str = ""
    kind: ClassVar[str] = "fold"


Block: TypeAlias = Table | Paragraph | Command | Bullets | Chart | Charts | Heading | Fold


@dataclass(frozen=True, slots=True)
class Section:
    """A section with its anchor.

    Attributes:
        anchor: of the table of contents.
        title: its heading.
        blocks: its content; a section without is not shown.
        missing: what it could not show and why, for the footnote.
    """

    anchor: str
    title: str
    blocks: Sequence[Block] = ()
    missing: Sequence[str] = ()
