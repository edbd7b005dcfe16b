"""Records in; tables and pictures out. Reads nothing else."""

from statespan.report.cells import cell_table
from statespan.report.evaluation_plots import draw_perplexity, draw_recall, draw_ruler
from statespan.report.evaluation_tables import (
    evaluation_line,
    evaluation_notes,
    evaluation_table,
    ruler_average,
)
from statespan.report.matrix import Matrix, MatrixCell, MatrixRow, build_matrix
from statespan.report.page import Source, report_page
from statespan.report.plots import draw_accuracy, draw_errors
from statespan.report.retrieval_plots import draw_retrievals
from statespan.report.tables import (
    bin_table,
    error_table,
    median_bins,
    member_table,
    recognition_lines,
    summary_line,
)

__all__ = [
    "Matrix",
    "MatrixCell",
    "MatrixRow",
    "Source",
    "bin_table",
    "build_matrix",
    "cell_table",
    "draw_accuracy",
    "draw_errors",
    "draw_perplexity",
    "draw_recall",
    "draw_retrievals",
    "draw_ruler",
    "error_table",
    "evaluation_line",
    "evaluation_notes",
    "evaluation_table",
    "median_bins",
    "member_table",
    "recognition_lines",
    "report_page",
    "ruler_average",
    "summary_line",
]
