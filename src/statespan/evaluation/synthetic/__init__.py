"""Synthetic recall, in token ids alone: what small models can do, and no tokenizer is needed."""

from statespan.evaluation.synthetic import tasks
from statespan.evaluation.synthetic.scoring import evaluate_recall
from statespan.evaluation.synthetic.task import RECALL_TASKS, RecallSample, RecallTask

__all__ = ["RECALL_TASKS", "RecallSample", "RecallTask", "evaluate_recall", "tasks"]
