"""The report: one self-contained HTML page from runs and results. `read_inputs`, then `render_report`."""

from vrm.report.inputs import Input, Inputs, read_inputs
from vrm.report.render import render_report

__all__ = ["Input", "Inputs", "read_inputs", "render_report"]
