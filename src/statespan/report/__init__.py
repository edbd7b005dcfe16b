"""Records in; tables and pictures out. Reads nothing else."""

from statespan.report.plots import draw_accuracy
from statespan.report.tables import (
    bin_table,
    median_bins,
    recognition_lines,
    summary_line,
    sweep_table,
)

__all__ = [
    "bin_table",
    "draw_accuracy",
    "median_bins",
    "recognition_lines",
    "summary_line",
    "sweep_table",
]
