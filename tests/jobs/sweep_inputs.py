"""What tests of sweeps share: a small probe, and workers that are no processes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import pytest

from statespan.jobs import SweepConfig, sweep_config
from statespan.jobs.sweep_config import RayConfig
from statespan.jobs.sweep_task import CellTask, Message, TaskFailure, run_cells

PROBE: dict[str, Any] = {
    "language": "d-2",
    "model": {"name": "transformer", "layers": 1, "d_model": 8, "heads": 2, "d_feedforward": 8},
    "data": {"bins": [[2, 10], [12, 16]], "train_words": 60, "test_words": 10},
    "training": {"steps": 12, "report_every": 4, "batch_size": 8, "warmup": 0},
    "evaluation": {"curve_lengths": 2, "curve_words": 3, "negatives": 4},
}


def small(*, grid: dict[str, Any] | None = None, **rest: Any) -> SweepConfig:
    return sweep_config({"probe": PROBE, "grid": grid or {"seed": [1, 2]}, **rest})


class InlineWorkers:
    """Runs each task in this process, whole, when it is listened to.

    `lost` says of which tasks the worker dies; with `sees_folder` false, each works on a copy.
    """

    def __init__(
        self,
        *,
        cpus: int = 2,
        lost: Callable[[CellTask], bool] = lambda _: False,
        sees_folder: bool = True,
    ) -> None:
        self.cpus = cpus
        self.tasks: list[CellTask] = []
        self._lost, self._sees_folder = lost, sees_folder
        self._waiting: list[CellTask] = []

    @property
    def is_busy(self) -> bool:
        return bool(self._waiting)

    def check_threads(self, threads: int) -> None:
        assert threads == 1

    def submit(self, task: CellTask, threads: int) -> None:
        self.tasks.append(task)
        self._waiting.append(task)

    def next_messages(self, seconds: float) -> Iterator[tuple[CellTask, Message | None]]:
        task = self._waiting[0]
        if self._lost(task):
            yield task, TaskFailure("its worker ended: on purpose")
            return
        own = task if self._sees_folder else dataclasses.replace(task, token="another")
        for message in run_cells(own):
            yield task, message
            if isinstance(message, TaskFailure):
                return
        yield task, None

    def forget(self, task: CellTask) -> None:
        self._waiting.remove(task)

    def names(self) -> list[list[str]]:
        """Return the cells of each task that was handed in."""
        return [sorted(task.cells) for task in self.tasks]


def use(workers: InlineWorkers, monkeypatch: pytest.MonkeyPatch) -> InlineWorkers:
    """Have sweeps run by `workers`, and not by Ray; pictures, which take long, are not drawn."""

    @contextmanager
    def opened(config: RayConfig) -> Iterator[InlineWorkers]:
        yield workers

    # The package has functions by the names of these modules.
    monkeypatch.setattr(import_module("statespan.jobs.sweep"), "open_workers", opened)
    monkeypatch.setattr(import_module("statespan.jobs.probe"), "draw_accuracy", lambda _: b"")
    return workers


def statuses(records: Sequence[Any]) -> list[str]:
    return [record.status for record in records]
