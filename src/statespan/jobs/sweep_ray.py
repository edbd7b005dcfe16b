"""Ray, which runs the tasks of a sweep: started on this machine, or a cluster that is there.

On this machine it listens on the loopback interface only, shows no dashboard, and tells nobody
that it is used. Of a cluster, whoever started it has decided that.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from typing import Any, final

from statespan.errors import ConfigError, InputError, MissingExtraError, StatespanError
from statespan.jobs.fleet_plan import num_cores
from statespan.jobs.sweep_config import RayConfig
from statespan.jobs.sweep_task import CellTask, Message, TaskFailure, run_cells

__all__ = ["Workers", "open_workers"]

PACKAGE = "ray"
LOCAL = "local"

QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
"""What Ray reads when it starts: it is to tell nobody, and to stay on the loopback interface."""

STORE_BYTES = 256 * 2**20
"""Of memory for what workers send; they send little, and more goes to the disk."""


@contextmanager
def open_workers(config: RayConfig) -> Iterator[Workers]:
    """Start Ray, or join the cluster that `config` or the environment's `RAY_ADDRESS` names.

    Where this process has joined one already, that one is used, and stays.

    Raises:
        MissingExtraError: ray is not installed.
        InputError: no cluster answers at that address.
    """
    if find_spec(PACKAGE) is None:
        raise MissingExtraError(PACKAGE, extra="sweep")
    address = config.address or os.environ.get("RAY_ADDRESS") or LOCAL
    with _environment(QUIET if address == LOCAL else {}):
        ray = import_module(PACKAGE)
        is_ours = not ray.is_initialized()
        if is_ours:
            _start(ray, address, config.cpus)
    workers = Workers(ray)
    try:
        yield workers
    finally:
        workers.cancel()
        if is_ours:
            ray.shutdown()


def _start(ray: Any, address: str, cpus: int | None) -> None:
    common = {"logging_level": "ERROR", "log_to_driver": False}
    if address == LOCAL:
        try:
            ray.init(
                address=LOCAL,
                num_cpus=cpus or num_cores(),
                num_gpus=0,
                include_dashboard=False,
                object_store_memory=STORE_BYTES,
                **common,
            )
        except Exception as error:  # Ray raises that itself where a part of it is too slow
            raise StatespanError(
                f"Ray did not start on this machine ({_first_words(error)}): nothing is lost; try "
                "again, with --resume and the folder of the sweep."
            ) from error
        return
    try:
        ray.init(address=address, **common)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise InputError(f"no cluster of Ray can be joined at {address}: {error}") from error


@contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    """Have environment variables for a while, but where they are set already."""
    added = {name: value for name, value in values.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            del os.environ[name]


@final
class Workers:
    """Processes of Ray, each of which runs one task at a time, on as many cores as it has threads.

    Attributes:
        cpus: how many cores there are in all.
    """

    def __init__(self, ray: Any) -> None:
        self._ray = ray
        self._running: dict[Any, CellTask] = {}
        nodes = [node["Resources"].get("CPU", 0) for node in ray.nodes() if node["Alive"]]
        self.cpus = max(1, int(sum(nodes)))
        self._most_threads = int(max(nodes, default=0))

    def check_threads(self, threads: int) -> None:
        """Check that there is a machine with as many cores as a cell has threads.

        Raises:
            ConfigError: there is none.
        """
        if threads > self._most_threads:
            raise ConfigError(
                f"training.threads must be at most {self._most_threads}, the cores that Ray has "
                f"on one machine, got {threads}."
            )

    @property
    def is_busy(self) -> bool:
        """Whether there is a task that has not ended."""
        return bool(self._running)

    def submit(self, task: CellTask, threads: int) -> None:
        """Have a task run when there are cores for it, after those before it."""
        options = {"num_returns": "streaming", "num_cpus": threads, "max_retries": 0}
        function = self._ray.remote(run_cells).options(**options)
        self._running[function.remote(task)] = task

    def next_messages(self, seconds: float) -> Sequence[tuple[CellTask, Message | None]]:
        """Wait until a task says something, at most so long; None means that it has ended.

        A task whose worker died says `TaskFailure` first.
        """
        ready, _ = self._ray.wait(
            list(self._running), num_returns=len(self._running), timeout=seconds, fetch_local=False
        )
        return [(self._running[stream], self._take(stream)) for stream in ready]

    def _take(self, stream: Any) -> Message | None:
        try:
            message: Message = self._ray.get(next(stream))
        except StopIteration:
            return None
        except self._ray.exceptions.RayError as error:
            return TaskFailure(f"its worker ended: {_first_words(error)}")
        return message

    def forget(self, task: CellTask) -> None:
        """Listen no more to a task, and have it end if it has not."""
        for stream in [stream for stream, own in self._running.items() if own is task]:
            del self._running[stream]
            self._ray.cancel(stream, force=True)

    def cancel(self) -> None:
        """End all tasks."""
        for task in list(self._running.values()):
            self.forget(task)


def _first_words(error: Exception) -> str:
    """Return the line of a message of Ray that says most: the last one, that of the error."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
