"""The engine for servers: a faithful one passes, each fault is found, each bad reply is told."""

from __future__ import annotations

import socket
from collections.abc import Callable
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from random import Random
from types import ModuleType
from typing import Any

import pytest

from statespan.conformance import Checkpoint
from statespan.conformance.engines.openai import OpenAIEngine
from statespan.conformance.findings import Result
from statespan.conformance.judging import judge_readings
from statespan.conformance.kit import run_kit
from statespan.conformance.protocol import Padding
from statespan.conformance.recall_checkpoint import make_recall_checkpoint
from statespan.conformance.recipes import make_checkpoints
from statespan.conformance.scenarios.scenario import SCENARIOS
from statespan.conformance.trial import run_trial
from statespan.errors import EngineError, InputError, UnsupportedError
from statespan.jobs.conformance import names_for, open_engine, try_engine


def _module(name: str) -> ModuleType:
    """Return a module beside this one, which pytest does not import by name."""
    spec = spec_from_file_location(name, Path(__file__).parent / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


server = _module("server")
BOTH = ("flip-flop-mamba2-f32", "recall-llama-f32")


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Checkpoint]:
    folder = tmp_path_factory.mktemp("checkpoints")
    return {checkpoint.name: checkpoint for checkpoint in make_checkpoints(folder, BOTH)}


@pytest.fixture
def flip_flop(checkpoints: dict[str, Checkpoint]) -> Checkpoint:
    return checkpoints[BOTH[0]]


def _run(checkpoint: Checkpoint, *scenarios: str, fault: str | None = None) -> list[Result]:
    with server.Server(checkpoint, fault) as running:
        return run_kit(OpenAIEngine(running.url), [checkpoint], scenarios).results


QUICK = ("unequal", "prefix-reuse", "rollback", "greedy", "sampled")
SLOW = (
    "whole", "token-by-token", "chunks", "random-chunks", "beam-reorder", "threads", "long-whole",
)  # fmt: skip
ABSENT = ("left-padding", "right-padding", "left-padded-prefill", "packed")


@pytest.mark.parametrize("name", BOTH)
@pytest.mark.parametrize(
    "scenarios", [QUICK, pytest.param(SLOW, marks=pytest.mark.slow)], ids=["quick", "slow"]
)
def test_a_faithful_server_passes(
    checkpoints: dict[str, Checkpoint], name: str, scenarios: tuple[str, ...]
) -> None:
    for result in _run(checkpoints[name], *scenarios):
        assert result.status == "passed", result
        assert result.positions > 20


def test_what_the_api_has_not_is_not_offered(checkpoints: dict[str, Checkpoint]) -> None:
    results = _run(checkpoints["recall-llama-f32"], *ABSENT)
    assert {result.status for result in results} == {"not offered"}


FOUND = {
    "drops the state between pieces": ("flip-flop-mamba2-f32", "whole"),
    "drops the state before it writes": ("flip-flop-mamba2-f32", "sampled"),
    "keeps a state past its prompt": ("recall-llama-f32", "rollback"),
    "mixes the rows of a batch": ("flip-flop-mamba2-f32", "unequal"),
    "takes any prefix of that length": ("flip-flop-mamba2-f32", "beam-reorder"),
    "reads the padding": ("recall-llama-f32", "unequal"),
    "reads one prompt after the other": ("recall-llama-f32", "unequal"),
    "shifts positions after a piece": ("recall-llama-f32", "whole"),
    "reads the last tokens only": ("recall-llama-f32", "whole"),
    "answers for the token before": ("flip-flop-mamba2-f32", "whole"),
    "reads each piece twice": ("recall-llama-f32", "whole"),
    "writes from all tokens": ("flip-flop-mamba2-f32", "sampled"),
    "writes the least likely": ("flip-flop-mamba2-f32", "greedy"),
    "writes on after the end": ("recall-llama-f32", "greedy"),
}


THREADS = "shares one state among threads"


@pytest.mark.parametrize("fault", FOUND)
def test_a_planted_fault_is_found(checkpoints: dict[str, Checkpoint], fault: str) -> None:
    name, scenario = FOUND[fault]
    (result,) = _run(checkpoints[name], scenario, fault=fault)
    assert result.status == "fault", result
    assert result.wrong > 0
    finding = result.finding
    assert finding is not None
    assert finding.steps
    assert finding.error is None


def test_a_state_that_threads_share_is_found(flip_flop: Checkpoint) -> None:
    """Without the kit, which would look for the smallest input again and again, and wait."""
    with server.Server(flip_flop, THREADS) as running:
        runner = OpenAIEngine(running.url).load(flip_flop)
        for _, trial in SCENARIOS.get("threads").trials(flip_flop, Random(0)):
            assert judge_readings(flip_flop, run_trial(runner, trial)).wrong > 0


ODD_BUT_RIGHT = (
    "gives no echo",
    "gives chat logprobs",
    "gives ids as text",
    "gives choices backwards",
)


@pytest.mark.parametrize("manner", ODD_BUT_RIGHT)
def test_other_manners_of_servers_are_understood(flip_flop: Checkpoint, manner: str) -> None:
    for result in _run(flip_flop, "unequal", "sampled", fault=manner):
        assert result.status == "passed", result


SHOWN = {
    "gives back half the prompt": r"InputError: the server gave back \d+ tokens of a prompt of \d+",
    "gives back another prompt": "InputError: the server read '.*' where '.*' was sent, at positi",
    "gives one choice": r"InputError: the server gave choices \[0\] for \d prompts",
    "gives no place": "InputError: the server gave no probabilities in the place of",
}


@pytest.mark.parametrize("fault", SHOWN)
def test_a_reply_that_is_not_what_was_asked_for_is_a_fault(
    flip_flop: Checkpoint, fault: str
) -> None:
    import re

    (result,) = _run(flip_flop, "unequal", fault=fault)
    assert result.status == "fault"
    assert result.finding is not None
    assert result.finding.error is not None
    assert re.match(SHOWN[fault], result.finding.error), result.finding.error


TOLD = {
    "takes too long": (EngineError, r"did not answer within 0\.2 seconds"),
    "gives no logprobs": (EngineError, "gave no logprobs, so its answers cannot be told"),
    "gives few logprobs": (UnsupportedError, "shows the 1 largest probabilities; 5 are needed"),
    "names unknown tokens": (EngineError, "names a token '\N{REPLACEMENT CHARACTER}0', which"),
    "names impossible ids": (InputError, r"names a token 1000 .*, which is none"),
    "breaks": (InputError, "answered 500 .*: .*out of memory"),
    "refuses": (EngineError, "answered 400 .*: .*logprobs must be at most 1"),
    "says nonsense": (InputError, "gave no completions: JSON is malformed"),
    "hangs up": (EngineError, "no server answers at"),
}


@pytest.mark.parametrize("fault", TOLD)
def test_a_server_that_cannot_be_used_is_told(flip_flop: Checkpoint, fault: str) -> None:
    kind, message = TOLD[fault]
    with server.Server(flip_flop, fault) as running:
        engine = OpenAIEngine(running.url, timeout=0.2 if fault == "takes too long" else 60)
        with pytest.raises(kind, match=message):
            engine.load(flip_flop)


def test_a_server_is_tried_on_what_it_serves(flip_flop: Checkpoint, tmp_path: Path) -> None:
    with server.Server(flip_flop) as running:
        engine = open_engine(running.url)
        assert isinstance(engine, OpenAIEngine)
        assert names_for(engine) == [flip_flop.name]
        report = try_engine(engine, scenarios=["greedy"], folder=flip_flop.folder.parent)
        assert [result.status for result in report.results] == ["passed"]
        assert (report.engine, report.version) == (running.url, "loopback")
        named = open_engine(running.url, served=f"somewhere/{flip_flop.name}")
        report = try_engine(named, model=flip_flop.folder, scenarios=["greedy"])
        assert [result.status for result in report.results] == ["passed"]
    renamed = make_recall_checkpoint(tmp_path / "renamed")
    with server.Server(renamed) as running, pytest.raises(InputError, match="serves renamed, and"):
        try_engine(open_engine(running.url), folder=tmp_path)


def test_every_fault_of_the_server_is_asked_for() -> None:
    assert set(server.STATE_FAULTS) == {*FOUND, THREADS}
    assert set(server.REPLY_FAULTS) == {*SHOWN, *TOLD, *ODD_BUT_RIGHT}


def test_a_server_that_is_not_there_is_told(flip_flop: Checkpoint) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
        with pytest.raises(EngineError, match=f"no server answers at {url}"):
            OpenAIEngine(url).load(flip_flop)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: OpenAIEngine("localhost:8000"), "url must be like http://host:port, got 'localh"),
        (lambda: OpenAIEngine("http://"), "url must be like http://host:port"),
        (lambda: OpenAIEngine("http://a", timeout=0), "timeout must be above 0 seconds, got 0"),
    ],
    ids=["no scheme", "no host", "no time"],
)
def test_a_bad_address_is_refused(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        make()


def test_a_checkpoint_is_found_by_the_name_that_it_is_served_by(
    checkpoints: dict[str, Checkpoint], flip_flop: Checkpoint
) -> None:
    other = checkpoints["recall-llama-f32"]
    with server.Server(flip_flop) as running:
        engine = OpenAIEngine(running.url)
        assert engine.served() == {flip_flop.name: f"somewhere/{flip_flop.name}"}
        assert engine.version == "loopback"
        assert engine.name == running.url
        with pytest.raises(UnsupportedError, match=f"serves somewhere/.*, and not {other.name}"):
            engine.load(other)
        for path in ("", "/v1", "/v1/"):
            named = OpenAIEngine(running.url + path, model=f"somewhere/{flip_flop.name}")
            runner = named.load(flip_flop)
        with pytest.raises(UnsupportedError, match="and not another"):
            OpenAIEngine(running.url, model="another").load(flip_flop)
        with pytest.raises(UnsupportedError, match="fills up rows as it likes"):
            runner.score([(0,)], padding=Padding("left", masked=True))
        with pytest.raises(UnsupportedError, match="fills up rows as it likes"):
            runner.start(1).feed([(0,)], padding=Padding("left", masked=True))
