"""The sections of a report, in order.

Each makes a `Section` of a `View` and a `Drawer`, without blocks where the inputs have nothing for it.
"""

from collections.abc import Callable

from vrm.report.blocks import Section
from vrm.report.charts import Drawer
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
from vrm.report.view import View

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

__all__ = ["SECTIONS"]
