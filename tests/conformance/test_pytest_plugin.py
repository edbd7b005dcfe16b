"""The kit as tests of pytest: each scenario one, and nothing at all without an engine."""

from __future__ import annotations

import tomllib
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from statespan.conformance import make_checkpoints
from statespan.conformance.kit import scenario_names
from statespan.jobs.conformance_tests import Kit

pytest_plugins = "pytester"

MODULE = "statespan.pytest_plugin"
INSTALLED = any(entry.value == MODULE for entry in entry_points(group="pytest11"))
PLUGIN = ("-p", "no:randomly", *(() if INSTALLED else ("-p", MODULE)))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a checkpoint, made before `pytester` begins to forget imports."""
    path = tmp_path_factory.mktemp("checkpoints")
    make_checkpoints(path, ["flip-flop-mamba2-f32"])
    return path


def _arguments(folder: Path, *options: str) -> list[str]:
    named = [f"--statespan-{option}" for option in options if not option.startswith("-")]
    others = [option for option in options if option.startswith("-")]
    return [*PLUGIN, "-rs", f"--statespan-folder={folder}", *named, *others]


def _run(pytester: pytest.Pytester, folder: Path, *options: str) -> pytest.RunResult:
    return pytester.runpytest_subprocess(*_arguments(folder, *options))


def _run_here(pytester: pytest.Pytester, folder: Path, *options: str) -> pytest.RunResult:
    """Run what computes nothing: modules that are imported meanwhile are forgotten afterwards."""
    return pytester.runpytest_inprocess(*_arguments(folder, *options))


def test_it_is_declared() -> None:
    assert issubclass(Kit, pytest.Collector)
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
    assert MODULE in project["project"]["entry-points"]["pytest11"].values()


def test_without_an_engine_nothing_is_added_and_nothing_heavy_imported(
    pytester: pytest.Pytester,
) -> None:
    pytester.makepyfile(
        """
        import sys

        def test_light():
            assert "statespan.pytest_plugin" in sys.modules
            heavy = {"torch", "numpy", "transformers", "rich", "statespan.conformance"}
            assert heavy.isdisjoint(sys.modules)
        """
    )
    pytester.runpytest_subprocess(*PLUGIN, "-p", "no:jaxtyping").assert_outcomes(passed=1)


def test_each_scenario_is_a_test_that_passes_fails_or_is_skipped(
    pytester: pytest.Pytester, folder: Path
) -> None:
    pytester.makepyfile("def test_own(): pass")
    result = _run(
        pytester, folder, "engine=transformers", "checkpoint=flip-flop-mamba2-f32",
        "checkpoint=flip-flop-mamba-f32", "scenario=greedy", "scenario=random-chunks",
        "scenario=packed", "-v",
    )  # fmt: skip
    # The three of Mamba-2, greedy of Mamba, which keeps no documents apart, and that of the user.
    result.assert_outcomes(passed=4, failed=1, skipped=2)
    result.stdout.fnmatch_lines([
        "*statespan::flip-flop-mamba2-f32::greedy PASSED*",
        "*statespan::flip-flop-mamba-f32::random-chunks FAILED*",
        "FAULT: random-chunks on flip-flop-mamba-f32 (float32)",
        "*the smallest input that shows it:*",
        "SKIPPED*does not apply: *",
        "SKIPPED*not offered: MambaForCausalLM takes no position_ids*",
    ])  # fmt: skip
    assert "Traceback" not in result.stdout.str()


def test_a_checkpoint_of_the_user_and_a_selection(pytester: pytest.Pytester, folder: Path) -> None:
    model = folder / "flip-flop-mamba2-f32"
    result = _run(pytester, folder, "engine=accelerated", f"model={model}", "-kgreedy or sampled")
    result.assert_outcomes(passed=2, deselected=len(scenario_names()) - 2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("engine=transformer",), "*unknown engine 'transformer'. Did you mean transformers?*"),
        (("engine=transformers", "scenario=chunk"), "*unknown scenario 'chunk'. Did you mean *"),
        (("engine=transformers", "checkpoint=parity"), "*unknown checkpoint 'parity'.*"),
        (("engine=transformers", "model=nowhere"), "*there is no folder nowhere.*"),
        (("engine=transformers", "served=x"), "*served is for a server, got the engine*"),
        (("engine=http://",), "*url must be like http://host:port, got 'http://'*"),
    ],
    ids=["engine", "scenario", "checkpoint", "model", "served", "address"],
)
def test_a_wrong_option_is_told_before_any_test_runs(
    pytester: pytest.Pytester, folder: Path, options: tuple[str, ...], message: str
) -> None:
    result = _run_here(pytester, folder, *options)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([message])


def test_a_server_that_is_not_there_fails_in_words(pytester: pytest.Pytester, folder: Path) -> None:
    result = _run_here(
        pytester, folder, "engine=http://127.0.0.1:9", "checkpoint=flip-flop-mamba2-f32",
        "scenario=whole",
    )  # fmt: skip
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["no server answers at http://127.0.0.1:9: *"])
    assert "Traceback" not in result.stdout.str()
