"""RULER offline: the 11 tasks that the span-expanded attention paper reports, for any tokenizer."""

from statespan.evaluation.ruler import tasks
from statespan.evaluation.ruler.generation import LEAST_LENGTH, ruler_samples
from statespan.evaluation.ruler.haystack import Haystack, default_haystack, essay_haystack
from statespan.evaluation.ruler.scoring import count_found, string_match_all
from statespan.evaluation.ruler.task import RULER_TASKS, RulerSample, RulerTask
from statespan.evaluation.ruler.words import WordList, word_list

__all__ = [
    "LEAST_LENGTH",
    "RULER_TASKS",
    "Haystack",
    "RulerSample",
    "RulerTask",
    "WordList",
    "count_found",
    "default_haystack",
    "essay_haystack",
    "ruler_samples",
    "string_match_all",
    "tasks",
    "word_list",
]
