"""Model in, records out: exact sets, recognition, errors; perplexity, RULER, recall by length."""

from statespan.evaluation.accuracy import evaluate_bins, evaluate_lengths, score, total_score
from statespan.evaluation.attentions import ATTENTIONS, attending, make_attention
from statespan.evaluation.errors import evaluate_errors
from statespan.evaluation.extraction import Extraction, extract
from statespan.evaluation.generation import evaluate_ruler, generate_answers
from statespan.evaluation.harness import evaluate_harness, harness_tasks
from statespan.evaluation.language_model import LanguageModel, load_language_model
from statespan.evaluation.lists import evaluate_lists
from statespan.evaluation.logits import logits_in_pieces, next_tokens, token_losses
from statespan.evaluation.perplexity import evaluate_perplexity
from statespan.evaluation.predictor import Predictor, open_predictor
from statespan.evaluation.prose import default_prose, open_prose
from statespan.evaluation.published import Published, published_figures
from statespan.evaluation.recognition import evaluate_recognition
from statespan.evaluation.refutation import Loop, Refutation, refute
from statespan.evaluation.synthetic import RECALL_TASKS, evaluate_recall

__all__ = [
    "ATTENTIONS",
    "RECALL_TASKS",
    "Extraction",
    "LanguageModel",
    "Loop",
    "Predictor",
    "Published",
    "Refutation",
    "attending",
    "default_prose",
    "evaluate_bins",
    "evaluate_errors",
    "evaluate_harness",
    "evaluate_lengths",
    "evaluate_lists",
    "evaluate_perplexity",
    "evaluate_recall",
    "evaluate_recognition",
    "evaluate_ruler",
    "extract",
    "generate_answers",
    "harness_tasks",
    "load_language_model",
    "logits_in_pieces",
    "make_attention",
    "next_tokens",
    "open_predictor",
    "open_prose",
    "published_figures",
    "refute",
    "score",
    "token_losses",
    "total_score",
]
