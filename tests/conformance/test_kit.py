"""Every planted fault is found and named; a faithful engine passes; nothing passes unseen."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from statespan.conformance import Checkpoint, Engine, Runner
from statespan.conformance.findings import Result
from statespan.conformance.kit import run_kit, run_scenario, scenario_names
from statespan.conformance.protocol import ENGINES
from statespan.conformance.recipes import make_checkpoints
from statespan.conformance.scenarios.scenario import SCENARIOS
from statespan.errors import EngineError, InputError, UnknownNameError, UnsupportedError
from tests.conformance import faulty

SHORT = [name for name in scenario_names() if name not in {"chunks", "long-whole", "long-pieces"}]


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Checkpoint]:
    folder = tmp_path_factory.mktemp("checkpoints")
    return lambda name: make_checkpoints(folder, [name])[0]


def run(
    made: Callable[[str], Checkpoint],
    scenario: str,
    engine: str = "accelerated",
    checkpoint: str = "tomita-7-mamba2-f32",
    **changes: faulty.Change,
) -> Result:
    """Return what comes out of a scenario on an engine with some methods replaced."""
    subject = made(checkpoint)
    program = ENGINES.get(engine)()
    runner = faulty.FaultyRunner(program.load(subject), **changes)
    return run_scenario(program, runner, subject, SCENARIOS.get(scenario))


@pytest.mark.parametrize(
    ("scenario", "changes", "claim"),
    [
        ("random-chunks", {"feed": faulty.drop_state}, ": the state. It held"),
        ("token-by-token", {"feed": faulty.drop_after_many}, "before position 5"),
        ("whole", {"score": faulty.shift}, "right, but one position too late"),
        ("whole", {"score": faulty.swap_rows}, "it answers for row"),
        ("whole", {"score": faulty.lose_at_64}, "before position 64"),
        ("left-padding", {"score": faulty.forget_mask}, ""),
        ("prefix-reuse", {"copy": faulty.share}, "it goes on from what"),
        ("prefix-reuse", {"copy": faulty.share_convolutions}, ""),
        ("beam-reorder", {"reorder": faulty.order_convolutions_only}, "it goes on from what"),
        ("beam-reorder", {"reorder": faulty.reorder_backwards}, "it goes on from what"),
        ("sampled", {"generate": faulty.write_anything}, ""),
    ],
)  # fmt: skip
def test_a_planted_fault_is_found_and_named(
    made: Callable[[str], Checkpoint], scenario: str, changes: dict[str, Any], claim: str
) -> None:
    result = run(made, scenario, **changes)
    assert result.status == "fault"
    finding = result.finding
    assert finding is not None
    assert finding.steps
    assert finding.expected != finding.got
    assert any(part in finding.forgotten for part in claim.split("|")), finding


def test_documents_that_leak_into_each_other_are_found(
    made: Callable[[str], Checkpoint],
) -> None:
    subject = made("tomita-7-mamba2-f32")
    inner = ENGINES.get("accelerated")().load(subject)
    leaking = {"score_packed": lambda _, documents: faulty.leak(inner.score, documents)}
    result = run(made, "packed", **leaking)
    assert result.status == "fault"
    assert result.finding is not None
    assert "it goes on from what row" in result.finding.forgotten


def test_what_was_taken_back_and_stays_is_found(made: Callable[[str], Checkpoint]) -> None:
    result = run(made, "rollback", "statespan", "flip-flop-mamba-f32", crop=faulty.keep_all)
    assert result.status == "fault"
    assert result.finding is not None
    assert "it goes on from what the same row" in result.finding.forgotten


def test_what_an_engine_raises_is_a_finding(made: Callable[[str], Checkpoint]) -> None:
    result = run(made, "unequal", score=faulty.fail)
    assert result.status == "fault"
    assert result.finding is not None
    assert result.finding.error == "RuntimeError: stack expects each tensor to be equal size"


@pytest.mark.parametrize("engine", ["accelerated", "statespan"])
@pytest.mark.parametrize("checkpoint", ["tomita-7-mamba2-f32", "flip-flop-mamba-f32"])
def test_a_faithful_engine_passes(
    made: Callable[[str], Checkpoint], engine: str, checkpoint: str
) -> None:
    report = run_kit(ENGINES.get(engine)(), [made(checkpoint)], SHORT)
    assert report.faults == []
    passed = [result for result in report.results if result.status == "passed"]
    assert all(result.positions > 0 for result in passed)
    assert len(passed) > len(SHORT) // 2


def test_transformers_drops_the_state_of_mamba_between_pieces(
    made: Callable[[str], Checkpoint],
) -> None:
    result = run(made, "chunks", "transformers", "flip-flop-mamba-f32")
    assert result.status == "fault"
    assert result.failed == [str(size) for size in range(2, 65)]
    assert result.finding is not None
    assert ": the recurrent state. It held" in result.finding.forgotten
    assert len(result.finding.steps) == 2
    assert run(made, "token-by-token", "transformers", "flip-flop-mamba-f32").status == "passed"


def test_transformers_keeps_the_state_of_mamba_2(made: Callable[[str], Checkpoint]) -> None:
    assert run(made, "random-chunks", "transformers").status == "passed"


def test_what_an_engine_disclaims_is_no_fault(made: Callable[[str], Checkpoint]) -> None:
    result = run(made, "right-padded-prefill", "transformers", "flip-flop-mamba-f32")
    assert result.status == "not promised"
    assert "48256" in result.reason
    assert result.wrong > 0


def test_what_an_engine_lacks_is_not_passed(made: Callable[[str], Checkpoint]) -> None:
    missing = run(made, "left-padding", "statespan")
    assert missing.status == "not offered"
    assert "no mask" in missing.reason
    refused = run(made, "rollback", "transformers")
    assert refused.status == "not offered"
    assert "cannot be cropped" in refused.reason
    assert run(made, "rollback", "transformers", "recall-llama-f32").status == "passed"


class Absent(Engine):
    """An engine that runs nothing, or cannot be reached."""

    name = "absent"
    version = "0"

    def __init__(self, error: Exception) -> None:
        self.error = error

    def load(self, checkpoint: Checkpoint) -> Runner:
        raise self.error


def test_an_unsupported_dtype_is_said(made: Callable[[str], Checkpoint]) -> None:
    engine = Absent(UnsupportedError("no float32 here."))
    report = run_kit(engine, [made("tomita-7-mamba2-f32")], ["whole"])
    assert [result.status for result in report.results] == ["not offered"]
    assert report.results[0].reason == "no float32 here."


def test_an_engine_that_cannot_be_reached_ends_the_run(made: Callable[[str], Checkpoint]) -> None:
    with pytest.raises(EngineError, match="timed out"):
        run_kit(Absent(EngineError("it timed out.")), [made("tomita-7-mamba2-f32")], ["whole"])


def test_unknown_names_are_refused(made: Callable[[str], Checkpoint], tmp_path: Path) -> None:
    engine = ENGINES.get("statespan")()
    with pytest.raises(UnknownNameError, match=r"scenario 'chunk'\. Did you mean chunks"):
        run_kit(engine, [made("tomita-7-mamba2-f32")], ["chunk"])
    with pytest.raises(InputError, match="at least one checkpoint"):
        run_kit(engine, [], ["whole"])
    with pytest.raises(UnknownNameError, match="checkpoint 'tomita-7'"):
        make_checkpoints(tmp_path, ["tomita-7"])
