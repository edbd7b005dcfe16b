"""A sweep on Ray itself: on this machine, on a cluster of two nodes, and with processes killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

pytest.importorskip("ray", reason="needs the extra sweep")
sys.path.insert(0, str(Path(__file__).parent))
from sweep_inputs import PROBE, InlineWorkers, small, use

from statespan.errors import ConfigError, InputError, StatespanError
from statespan.jobs import SweepResult, resume_sweep, sweep, sweep_config
from statespan.jobs.sweep_ray import LOCAL, _start
from statespan.records import BinRecord

SCRIPT = """
import json, sys, time
from pathlib import Path
from statespan.jobs import sweep, sweep_config

def progress(stage, done, total, remark):
    print(done, remark, flush=True)

if __name__ == "__main__":
    sweep(sweep_config(json.loads(sys.argv[1])), Path(sys.argv[2]), progress=progress)
"""

CLUSTER = """
import json, sys
from pathlib import Path
from ray.cluster_utils import Cluster
from statespan.jobs import sweep, sweep_config
from statespan.jobs import sweep_work

if __name__ == "__main__":
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    cluster.add_node(num_cpus=1)
    if sys.argv[3] == "apart":  # what says to the workers that they see the folder is not there
        write = sweep_work.write_atomically
        sweep_work.write_atomically = lambda path, content: (
            None if path.name == sweep_work.TOKEN else write(path, content)
        )
    remarks = []
    result = sweep(
        sweep_config(json.loads(sys.argv[1])),
        Path(sys.argv[2]),
        address=cluster.address,
        progress=lambda stage, done, total, remark: remarks.append(remark),
    )
    cluster.shutdown()
    print(json.dumps([sorted(record.status for record in result.records), remarks]))
"""


def table(**training: Any) -> dict[str, Any]:
    probe = {**PROBE, "training": {**PROBE["training"], **training}}
    return {"probe": probe, "grid": {"seed": [1, 2, 3, 4]}}


def bins(result: SweepResult) -> list[list[BinRecord]]:
    return [record.bins for record in result.records]


def environment() -> dict[str, str]:
    source = str(Path(__file__).parents[2] / "src")
    path = os.pathsep.join([source, os.environ.get("PYTHONPATH", "")])
    cleared = {name: text for name, text in os.environ.items() if name != "RAY_ADDRESS"}
    return {**cleared, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}


def workers_of(process: psutil.Process) -> list[psutil.Process]:
    """Return the processes below `process` that run a task of a sweep."""
    found = []
    for child in process.children(recursive=True):
        try:
            if "run_cells" in " ".join(child.cmdline()):
                found.append(child)
        except psutil.Error:
            continue
    return found


def start(script: str, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", script, *arguments]
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    )


def wait_until_trained(process: subprocess.Popen[str], percent: int) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        if int(line.split()[0]) >= percent:
            return
    assert process.stderr is not None
    raise AssertionError(process.stderr.read())


def test_an_address_where_no_cluster_is_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "nonsense://nowhere")
    with pytest.raises(InputError, match=r"no cluster of Ray can be joined at nonsense://nowhere"):
        sweep(small(), tmp_path / "sweep")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_more_threads_than_cores_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    config = small(grid={"training.threads": [2]}, ray={"cpus": 1})
    with pytest.raises(ConfigError, match=r"training.threads must be at most 1, .* got 2"):
        sweep(config, tmp_path / "sweep", address="local")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_sweep_on_this_machine_is_as_it_is_without_ray(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    config = small(grid={"seed": [1, 2], "training.learning_rate": [1e-3, 1e30]}, ray={"cpus": 2})
    found = sweep(config, tmp_path / "ray")
    use(InlineWorkers(), monkeypatch)
    inline = sweep(config, tmp_path / "inline")
    assert bins(found) == bins(inline)
    assert [r.status for r in found.records] == [r.status for r in inline.records]
    assert resume_sweep(tmp_path / "ray").records == found.records
    assert not {"RAY_USAGE_STATS_ENABLED", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"} & set(os.environ)


@pytest.mark.slow
def test_ray_listens_on_this_machine_only_and_ends_with_the_sweep(tmp_path: Path) -> None:
    config = json.dumps(table(steps=2000, report_every=50))
    with start(SCRIPT, config, str(tmp_path / "sweep")) as process:
        wait_until_trained(process, 10)
        family = psutil.Process(process.pid).children(recursive=True)
        hosts = {
            connection.laddr.ip
            for child in family
            for connection in child.net_connections("inet")
            if connection.status == psutil.CONN_LISTEN
        }
        process.send_signal(signal.SIGINT)
        process.communicate()
    assert hosts
    assert hosts <= {"127.0.0.1", "::1", "::ffff:127.0.0.1"}
    _, alive = psutil.wait_procs(family, timeout=30)
    assert alive == []


@pytest.mark.slow
def test_a_sweep_whose_driver_was_killed_is_resumed_to_the_same_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = table(steps=1000, report_every=50)
    with start(SCRIPT, json.dumps(given), str(tmp_path / "killed")) as process:
        wait_until_trained(process, 30)
        process.send_signal(signal.SIGKILL)
    assert not (tmp_path / "killed" / "records.jsonl").exists()
    begun = list((tmp_path / "killed").glob("*/training.jsonl"))
    assert any(path.stat().st_size for path in begun), "some were on their way"
    resumed = resume_sweep(tmp_path / "killed")
    use(InlineWorkers(), monkeypatch)
    assert bins(resumed) == bins(sweep(sweep_config(given), tmp_path / "whole"))


@pytest.mark.slow
def test_cells_whose_worker_was_killed_are_begun_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = table(steps=1000, report_every=50)
    with start(SCRIPT, json.dumps(given), str(tmp_path / "sweep")) as process:
        wait_until_trained(process, 20)
        killed = workers_of(psutil.Process(process.pid))[0]
        killed.kill()
        _, errors = process.communicate()
    assert process.returncode == 0, errors
    whole = resume_sweep(tmp_path / "sweep")
    assert [record.status for record in whole.records] == ["finished"] * 4
    use(InlineWorkers(), monkeypatch)
    assert bins(whole) == bins(sweep(sweep_config(given), tmp_path / "whole"))


@pytest.mark.slow
@pytest.mark.parametrize("disk", ["shared", "apart"])
def test_a_cluster_of_two_nodes_shares_the_work(
    disk: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = table(steps=200)
    with start(CLUSTER, json.dumps(given), str(tmp_path / "sweep"), disk) as process:
        output, errors = process.communicate()
    assert process.returncode == 0, errors
    statuses, remarks = json.loads(output.splitlines()[-1])
    assert statuses == ["finished"] * 4
    # A node has one core, so that two tasks at once, of two cells each, are on two nodes.
    assert any(" 4 running" in remark for remark in remarks)
    found = resume_sweep(tmp_path / "sweep")
    use(InlineWorkers(), monkeypatch)
    assert bins(found) == bins(sweep(sweep_config(given), tmp_path / "whole"))


class _SlowRay:
    """A Ray whose node does not come up in time."""

    @staticmethod
    def init(**_: Any) -> None:
        raise Exception("The current node timed out during startup.")


def test_a_ray_that_does_not_start_is_told() -> None:
    with pytest.raises(StatespanError, match="did not start on this machine"):
        _start(_SlowRay, LOCAL, 1)
