"""The bridge to lm-evaluation-harness: its tasks, run on a live model with the attention it has."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from statespan.errors import InputError, MissingExtraError, UnknownNameError
from statespan.evaluation.language_model import LanguageModel
from statespan.records import HarnessRecord

__all__ = ["evaluate_harness", "harness_tasks"]

PACKAGE = "lm_eval"


def harness_tasks(folder: Path | None = None) -> list[str]:
    """Return the tasks that the harness knows, with those in the YAML files of `folder`.

    Raises:
        MissingExtraError: lm_eval is not installed.
        InputError: there is no such folder.
    """
    return list(_task_manager(folder).all_tasks)


def evaluate_harness(
    model: LanguageModel,
    task: str,
    *,
    folder: Path | None = None,
    samples: int | None = None,
    max_length: int | None = None,
    batch_size: int = 1,
    attention: str = "full",
) -> list[HarnessRecord]:
    """Return a record for each metric of a task, or of each in a group of tasks, of the harness.

    The tasks in `folder` are YAML files and are read from the disk; others may download their data.
    `samples` is how many are used, by default all. No random generator is seeded.

    Raises:
        MissingExtraError: lm_eval is not installed.
        UnknownNameError: no such task.
        InputError: there is no such folder, no tokenizer, a task without data, or one that the
            harness cannot run on a live model.
    """
    manager = _task_manager(folder)
    if task not in manager.all_tasks:
        raise UnknownNameError("task of lm_eval", task, manager.all_tasks)
    if model.tokenizer is None:
        raise InputError(f"{model.name} needs a tokenizer for the harness, got none.")
    adapter = import_module(f"{PACKAGE}.models.huggingface").HFLM(
        pretrained=model.model,
        tokenizer=model.tokenizer,
        batch_size=batch_size,
        max_length=max_length,
    )
    try:
        results = import_module(PACKAGE).simple_evaluate(
            model=adapter,
            tasks=[task],
            task_manager=manager,
            limit=samples,
            bootstrap_iters=0,
            log_samples=False,
            random_seed=None,
            numpy_random_seed=None,
            torch_random_seed=None,
        )
    except (OSError, ConnectionError) as error:
        raise InputError(
            f"the harness could not get the data of {task}: {error} A task in a folder of your own "
            "works offline."
        ) from error
    except (AssertionError, ValueError, TypeError, KeyError) as error:
        raise InputError(f"the harness could not run {task} on a live model: {error}") from error
    return list(_records(results, task, attention))


def _task_manager(folder: Path | None) -> Any:
    if find_spec(PACKAGE) is None:
        raise MissingExtraError(PACKAGE, extra="harness")
    if folder is not None and not folder.is_dir():
        raise InputError(f"there is no folder of tasks {folder}.")
    include = None if folder is None else str(folder)
    return import_module(f"{PACKAGE}.tasks").TaskManager(include_path=include)


def _records(results: Mapping[str, Any], task: str, attention: str) -> Iterator[HarnessRecord]:
    """Yield the metrics of all tasks; a metric is called `acc`, or `exact_match (filter)`."""
    for part, metrics in results["results"].items():
        samples = results["n-samples"].get(part, {}).get("effective", 0)
        for key, value in metrics.items():
            name, comma, rule = key.partition(",")
            if comma and not name.endswith("_stderr") and isinstance(value, (int, float)):
                yield HarnessRecord(
                    attention=attention,
                    task=task,
                    part=part,
                    metric=name if rule == "none" else f"{name} ({rule})",
                    value=float(value),
                    samples=samples,
                )
