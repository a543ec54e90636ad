"""The page: sections that have something to show, what is missing, and the template."""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib.resources import files

import jinja2

import vrm
from vrm.look import look
from vrm.report.blocks import Section
from vrm.report.charts import Drawer
from vrm.report.inputs import KINDS, Inputs
from vrm.report.sections.accuracy import accuracy_section
from vrm.report.sections.audit import audit_section
from vrm.report.sections.best_of_n import best_of_n_section
from vrm.report.sections.calibration import calibration_section
from vrm.report.sections.comparison import comparison_section
from vrm.report.sections.doctor import doctor_section
from vrm.report.sections.mistakes import mistakes_section
from vrm.report.sections.selective import selective_section
from vrm.report.sections.settings import settings_section
from vrm.report.sections.summary import summary_section
from vrm.report.sections.training import training_section
from vrm.report.sections.weights import weights_section
from vrm.report.view import View, view_of
from vrm.results import Kind

SECTIONS: tuple[Callable[[View, Drawer], Section], ...] = (
    summary_section,
    accuracy_section,
    comparison_section,
    calibration_section,
    selective_section,
    best_of_n_section,
    audit_section,
    doctor_section,
    weights_section,
    mistakes_section,
    training_section,
    settings_section,
)
"""In order. Each makes its section without blocks where the inputs have nothing for it."""

_UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]")


def render_report(inputs: Inputs, title: str = "Reward model report") -> str:
    """One self-contained HTML page; the same inputs give the same page, to the byte.

    Args:
        inputs: from `read_inputs`.
        title: of the page.

    Returns:
        The page's text: no script, nothing that is loaded from elsewhere, every text of the inputs escaped.

    Raises:
        MissingExtraError: matplotlib, of the extra `report`, is not installed.
    """
    view = view_of(inputs)
    with Drawer.open() as draw:
        sections = [make(view, draw) for make in SECTIONS]
    page = _template().render(
        title=title,
        subtitle=_subtitle(view),
        version=vrm.__version__,
        css=look() + _file("page.css"),
        sections=[section for section in sections if section.blocks],
        missing=[f"{section.title}: {reason}" for section in sections for reason in section.missing],
    )
    return _UNPRINTABLE.sub("\ufffd", page)


def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, keep_trailing_newline=True
    )
    return environment.from_string(_file("page.html.jinja"))


def _file(name: str) -> str:
    return (files(__package__) / name).read_text(encoding="utf-8")


def _subtitle(view: View) -> str:
    inputs = view.inputs
    kinds = [entry.content.kind for entry in inputs.documents]
    counts = [(len(inputs.runs), "training run")]
    counts += [(kinds.count(kind), "data check" if kind == Kind.DOCTOR else str(kind)) for kind in KINDS]
    return "From " + ", ".join(f"{count} {word}{'s' * (count > 1)}" for count, word in counts if count)
