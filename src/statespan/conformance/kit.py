"""The kit: every scenario on every checkpoint, through one engine."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import TypeAlias, final

import msgspec

from statespan.conformance.checkpoint import Checkpoint
from statespan.conformance.describing import describe_trial, spell
from statespan.conformance.diagnosis import diagnose
from statespan.conformance.findings import Finding, Report, Result
from statespan.conformance.judging import Judged, Wrong, judge_readings
from statespan.conformance.protocol import Engine, Runner
from statespan.conformance.recipes import Progress
from statespan.conformance.scenarios.scenario import SCENARIOS, Scenario
from statespan.conformance.shrinking import shrink, truncated
from statespan.conformance.trial import Crop, Fork, Reading, Reorder, Trial, run_trial
from statespan.errors import EngineError, InputError, UnsupportedError

__all__ = ["run_kit", "run_scenario", "scenario_names"]

SHOWN = 40
EVIDENCE = 4
"""How many failing trials are asked for an explanation, beside the smallest one."""


def scenario_names(*, thorough: bool = False) -> list[str]:
    """Return the names of the scenarios, in the order of the report."""
    names = SCENARIOS.names()
    return [name for name in names if thorough or not SCENARIOS.get(name).thorough]


def run_kit(
    engine: Engine,
    checkpoints: Sequence[Checkpoint],
    scenarios: Sequence[str],
    *,
    seed: int = 0,
    progress: Progress = lambda *_: None,
) -> Report:
    """Return what comes out of the scenarios on the checkpoints, one after the other.

    Raises:
        UnknownNameError: there is no scenario of such a name.
        InputError: there is no scenario or no checkpoint.
        EngineError: the engine cannot be reached.
    """
    if not checkpoints or not scenarios:
        raise InputError("the kit needs at least one checkpoint and one scenario.")
    chosen = [SCENARIOS.get(name) for name in scenarios]
    begun = time.perf_counter()
    results: list[Result] = []
    total = len(checkpoints) * len(chosen)
    for checkpoint in checkpoints:
        for result in _run_checkpoint(engine, checkpoint, chosen, seed):
            results.append(result)
            faults = sum(result.status == "fault" for result in results)
            progress("conformance", len(results), total, f"{checkpoint.name}, faults: {faults}")
    return Report(
        engine=engine.name,
        version=engine.version,
        promises={scenario.name: scenario.promise for scenario in chosen},
        certificates={c.name: f"{c.promise} {c.certificate}" for c in checkpoints},
        results=results,
        seconds=time.perf_counter() - begun,
    )


def _run_checkpoint(
    engine: Engine, checkpoint: Checkpoint, scenarios: Sequence[Scenario], seed: int
) -> Iterator[Result]:
    try:
        runner = engine.load(checkpoint)
    except UnsupportedError as error:
        for scenario in scenarios:
            yield _result(scenario, checkpoint, status="not offered", reason=str(error))
        return
    for scenario in scenarios:
        begun = time.perf_counter()
        result = run_scenario(engine, runner, checkpoint, scenario, seed=seed)
        seconds = round(time.perf_counter() - begun, 3)
        yield msgspec.structs.replace(result, seconds=seconds)


def run_scenario(
    engine: Engine, runner: Runner, checkpoint: Checkpoint, scenario: Scenario, *, seed: int = 0
) -> Result:
    """Return what comes out of one scenario on one checkpoint that the engine has loaded.

    What is drawn depends on the seed, the scenario and the checkpoint, and on nothing else.
    """
    if not scenario.fits(checkpoint):
        reason = "this checkpoint cannot tell right from wrong here"
        return _result(scenario, checkpoint, status="does not apply", reason=reason)
    missing = sorted(scenario.needs - runner.abilities)
    if missing:
        reason = f"the engine has no {', '.join(missing)}"
        return _result(scenario, checkpoint, status="not offered", reason=reason)
    try:
        result = _Run(runner, checkpoint, scenario).all_trials(seed)
    except UnsupportedError as error:
        return _result(scenario, checkpoint, status="not offered", reason=str(error))
    disclaimed = engine.disclaimed.get(scenario.name)
    if result.status == "fault" and disclaimed is not None:
        return msgspec.structs.replace(result, status="not promised", reason=disclaimed)
    return result


def _result(scenario: Scenario, checkpoint: Checkpoint, **fields: object) -> Result:
    about = {"family": checkpoint.family, "dtype": checkpoint.dtype}
    return Result(scenario=scenario.name, checkpoint=checkpoint.name, **about, **fields)  # type: ignore[arg-type]


@final
@dataclass(frozen=True, slots=True, eq=False)
class _Outcome:
    """What an engine said in a trial, and what is right and wrong of it."""

    readings: list[Reading]
    judged: Judged


_Failure: TypeAlias = tuple[str, Trial, _Outcome | Exception]
"""What tells a trial from the others of its scenario, itself, and what came out of it."""


@final
class _Run:
    """One scenario on one checkpoint."""

    def __init__(self, runner: Runner, checkpoint: Checkpoint, scenario: Scenario) -> None:
        self.runner, self.checkpoint, self.scenario = runner, checkpoint, scenario

    def all_trials(self, seed: int) -> Result:
        """Return what came out of all trials; the first that fails is shrunk."""
        rng = Random(f"{seed} {self.scenario.name} {self.checkpoint.name}")
        positions, wrong, margin = 0, 0, math.inf
        failed: list[_Failure] = []
        for variant, trial in self.scenario.trials(self.checkpoint, rng):
            outcome = self._outcome(trial)
            if not isinstance(outcome, Exception):
                judged = outcome.judged
                positions, wrong = positions + judged.positions, wrong + judged.wrong
                margin = min(margin, judged.margin)
                if judged.first is None:
                    continue
            failed.append((variant, trial, outcome))
        return _result(
            self.scenario,
            self.checkpoint,
            status="fault" if failed else "passed",
            positions=positions,
            wrong=wrong,
            failed=[variant for variant, _, _ in failed],
            margin=margin if not failed and math.isfinite(margin) else None,
            finding=self._find(failed) if failed else None,
        )

    def _outcome(self, trial: Trial) -> _Outcome | Exception:
        """Return what came out of a trial, or what the engine raised.

        Raises:
            UnsupportedError: the engine does not offer it.
            EngineError: it cannot be reached.
        """
        try:
            readings = run_trial(self.runner, trial)
            return _Outcome(readings, judge_readings(self.checkpoint, readings))
        except (UnsupportedError, EngineError):
            raise
        except Exception as error:  # noqa: BLE001  # whatever an engine raises is a finding
            return error

    def _fails(self, trial: Trial) -> bool:
        """Return whether a trial comes out wrong, as the kit takes it while it shrinks one."""
        try:
            outcome = self._outcome(trial)
        except UnsupportedError:
            return False
        return isinstance(outcome, _Outcome) and outcome.judged.first is not None

    def _find(self, failed: Sequence[_Failure]) -> Finding:
        """Return the smallest input that shows the first failure, explained by the first few."""
        variant, trial, outcome = failed[0]
        symbols = self.checkpoint.symbols
        if isinstance(outcome, _Outcome) and outcome.judged.first is not None:
            wrong = outcome.judged.first
            shorter = (truncated(trial, wrong.reading, n) for n in (wrong.position, None))
            trial = shrink(next(filter(self._fails, shorter), trial), self._fails)
            outcome = self._outcome(trial)
        steps = describe_trial(trial, symbols)
        if isinstance(outcome, Exception):
            error = f"{type(outcome).__name__}: {outcome}"
            return Finding(variant=variant, steps=steps, error=error)
        if outcome.judged.first is None:
            gone = "the fault did not show again on the same input"
            return Finding(variant=variant, steps=steps, forgotten=gone)
        wrong = outcome.judged.first
        outcomes = [outcome, *(other for _, _, other in failed[:EVIDENCE])]
        return Finding(
            variant=variant,
            steps=steps,
            lane=wrong.reading.lane,
            step=wrong.reading.step,
            row=wrong.reading.row,
            position=wrong.position,
            read=spell(wrong.reading.history[: wrong.position + 1][-SHOWN:], symbols),
            expected=spell(sorted(wrong.expected), symbols),
            got=spell(sorted(wrong.got), symbols),
            forgotten=diagnose(
                self.checkpoint, _cases(outcomes), is_rearranged=_is_rearranged(failed[0][1])
            ),
        )


def _cases(outcomes: Sequence[_Outcome | Exception]) -> list[tuple[list[Reading], Wrong]]:
    """Return the readings and the first wrong answer of those that have one."""
    return [
        (outcome.readings, outcome.judged.first)
        for outcome in outcomes
        if isinstance(outcome, _Outcome) and outcome.judged.first is not None
    ]


def _is_rearranged(trial: Trial) -> bool:
    """Return whether a trial copies sessions, takes them back or reorders them."""
    return any(isinstance(step, Fork | Crop | Reorder) for lane in trial.lanes for step in lane)
