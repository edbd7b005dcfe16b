"""Records in; tables and pictures out. Reads nothing else."""

from statespan.report.plots import draw_accuracy
from statespan.report.tables import bin_table, recognition_lines, summary_line

__all__ = ["bin_table", "draw_accuracy", "recognition_lines", "summary_line"]
