"""The conformance kit as tests of pytest; `statespan.pytest_plugin` adds them."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, final

import pytest

from statespan.conformance import (
    RECIPES,
    SCENARIOS,
    Checkpoint,
    Report,
    Result,
    Runner,
    make_checkpoints,
)
from statespan.conformance.kit import run_scenario, scenario_names
from statespan.conformance.table import fault_lines
from statespan.errors import StatespanError, UnsupportedError
from statespan.jobs.conformance import (
    cache_folder,
    names_for,
    open_checkpoint,
    open_engine,
)

__all__ = ["Kit", "Trial"]


@final
class Kit(pytest.Collector):
    """All scenarios on all checkpoints, or those that the options name, through one engine.

    Raises:
        InputError: an option is wrong.
    """

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.engine = open_engine(self.option("engine"), served=self.option("served"))
        self._loaded: dict[str, tuple[Checkpoint, Runner]] = {}

    def option(self, name: str) -> Any:
        """Return what was given for an option."""
        return self.config.getoption(f"statespan_{name}")

    def collect(self) -> Iterator[Trial]:
        """Yield a test for each; a checkpoint is made when the first test of it runs."""
        thorough = self.option("thorough")
        scenarios = self.option("scenario") or scenario_names(thorough=thorough)
        for name in self._checkpoint_names(thorough=thorough):
            for scenario in scenarios:
                SCENARIOS.get(scenario)
                yield Trial.from_parent(self, name=f"{name}::{scenario}").about(name, scenario)

    def _checkpoint_names(self, *, thorough: bool) -> list[str]:
        if self._model is not None:
            return [self._model.name]
        names: list[str] = self.option("checkpoint") or names_for(self.engine, thorough=thorough)
        return [RECIPES.get(name).name for name in names]

    @cached_property
    def _model(self) -> Checkpoint | None:
        folder = self.option("model")
        return None if folder is None else open_checkpoint(Path(folder))

    def load(self, name: str) -> tuple[Checkpoint, Runner]:
        """Return a checkpoint, made if it is not there, and what the engine made of it."""
        if name not in self._loaded:
            checkpoint = self._model or make_checkpoints(self._folder(), [name])[0]
            self._loaded[name] = checkpoint, self.engine.load(checkpoint)
        return self._loaded[name]

    def _folder(self) -> Path:
        folder = Path(self.option("folder") or cache_folder())
        # Processes that run tests side by side must not write to one folder.
        worker: str | None = getattr(self.config, "workerinput", {}).get("workerid")
        return folder if worker is None else folder / worker


@final
class Trial(pytest.Item):
    """One scenario on one checkpoint."""

    checkpoint: str
    scenario: str

    def about(self, checkpoint: str, scenario: str) -> Trial:
        """Say which they are, by their names; return the test itself."""
        self.checkpoint, self.scenario = checkpoint, scenario
        return self

    def runtest(self) -> None:
        """Run the scenario; skip it where the engine does not offer it, or promises nothing."""
        kit = self.parent
        assert isinstance(kit, Kit)
        try:
            checkpoint, runner = kit.load(self.checkpoint)
        except UnsupportedError as error:
            pytest.skip(f"not offered: {error}")
        result = run_scenario(kit.engine, runner, checkpoint, SCENARIOS.get(self.scenario))
        if result.status == "fault":
            pytest.fail(_described(kit, result), pytrace=False)
        if result.status != "passed":
            pytest.skip(f"{result.status}: {result.reason}")

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """Return what an error of this package says, and not where in it that was raised."""
        if isinstance(excinfo.value, StatespanError):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, int | None, str]:
        return Path(__file__), None, f"{self.scenario} on {self.checkpoint}"


def _described(kit: Kit, result: Result) -> str:
    report = Report(
        engine=kit.engine.name,
        version=kit.engine.version,
        promises={result.scenario: SCENARIOS.get(result.scenario).promise},
        certificates={},
        results=[result],
        seconds=0.0,
    )
    return "\n".join(fault_lines(report)).strip()
