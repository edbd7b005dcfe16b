"""Model in, records out: exact-set accuracy by length, recognition, published figures."""

from statespan.evaluation.accuracy import evaluate_bins, evaluate_lengths
from statespan.evaluation.published import Published, published_figures
from statespan.evaluation.recognition import evaluate_recognition

__all__ = [
    "Published",
    "evaluate_bins",
    "evaluate_lengths",
    "evaluate_recognition",
    "published_figures",
]
