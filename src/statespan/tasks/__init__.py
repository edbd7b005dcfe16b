"""What a model may be asked beside languages: recall, copying, products, learning in context."""

import statespan.tasks.definitions  # noqa: F401  (registers the tasks)
from statespan.tasks.catalogue import TASKS, task, task_from_text
from statespan.tasks.task import Answer, Bins, Sample, SymbolTask, Task
from statespan.tasks.value_task import Estimate, ValueSample, ValueTask

__all__ = [
    "TASKS",
    "Answer",
    "Bins",
    "Estimate",
    "Sample",
    "SymbolTask",
    "Task",
    "ValueSample",
    "ValueTask",
    "task",
    "task_from_text",
]
