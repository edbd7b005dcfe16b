"""Run rows of the reproduction, two at a time; what is finished is not run again.

python experiments/expansion_span/run.py [ROW ...] [--seeds 0 1 2] [--processes 2] [--runs FOLDER]

A row is `base.toml` with its file in `rows/` put over it, as `statespan extend` takes it; the row
`untrained` is what `statespan evaluate` finds before. Without names: all rows with seed 0, then the
main ones with seeds 1 and 2. What was stopped goes on where it was. The records of a finished row
go to `results/`, and `page.py` draws them.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from statespan.records import read_bytes, read_toml, write_atomically, write_toml

HERE = Path(__file__).parent
RESULTS = HERE / "results"
MAIN = (
    *("untrained", "full", "span", "random", "no_memory", "lora_plus", "lora"),
    *("sliding", "s2", "short_chunk", "long_chunk", "landmark"),
)
"""The rows with three seeds."""
MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(1 << 32), "MALLOC_TRIM_THRESHOLD_": str(1 << 34)}
"""Let glibc keep the memory of freed tensors, which it takes from the system again otherwise."""


def put_over(table: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Return `table` with what `changes` has, section by section."""
    merged = dict(table)
    for key, value in changes.items():
        is_section = isinstance(value, dict) and isinstance(table.get(key), dict)
        merged[key] = put_over(table[key], value) if is_section else value
    return merged


def row_table(row: str, seed: int) -> dict[str, Any]:
    """Return the whole config of a row."""
    table = put_over(read_toml(HERE / "base.toml"), read_toml(HERE / "rows" / f"{row}.toml"))
    for key in ("model", "text"):
        table[key] = str((HERE / table[key]).resolve())
    table["seed"] = seed
    table["evaluation"]["seed"] = seed
    return table


def run_row(runs: Path, job: tuple[str, int]) -> str | None:
    """Run a row to its end, and keep its records; return what went wrong, if something did."""
    row, seed = job
    name = f"{row}-{seed}"
    place, config = runs / name, runs / f"{name}.toml"
    verb, table = "extend", row_table(row, seed)
    if row == "untrained":
        verb, table = "evaluate", {"model": table["model"], **table["evaluation"]}
    write_toml(config, table)
    begun = (place / "config.toml").exists()
    given = ["--resume", str(place)] if begun else [str(config), "--output", str(place)]
    with (runs / f"{name}.log").open("ab") as log:
        command = [sys.executable, "-m", "statespan", verb, *given]
        code = subprocess.run(
            command, stdout=log, stderr=log, check=False, env={**os.environ, **MEMORY}
        ).returncode
    if code:
        return f"{name} ended with {code}: see {runs / name}.log"
    write_atomically(RESULTS / f"{name}.jsonl", read_bytes(place / "records.jsonl"))
    sys.stderr.write(f"{name} is done\n")
    return None


def main() -> None:
    """Run what is asked for and not there yet."""
    everything = sorted(path.stem for path in (HERE / "rows").glob("*.toml"))
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("rows", nargs="*", metavar="ROW", choices=[*everything, []])
    parser.add_argument("--seeds", nargs="+", type=int, default=None)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--runs", type=Path, default=Path("runs/expansion_span"))
    asked = parser.parse_args()
    rows = asked.rows or [*MAIN, *(row for row in everything if row not in MAIN)]
    seeds = asked.seeds or ([0] if asked.rows else [0, 1, 2])
    jobs = [(row, seed) for seed in seeds for row in rows if asked.rows or not seed or row in MAIN]
    left = [job for job in jobs if not (RESULTS / "{}-{}.jsonl".format(*job)).exists()]
    asked.runs.mkdir(parents=True, exist_ok=True)
    RESULTS.mkdir(exist_ok=True)
    with ThreadPoolExecutor(asked.processes) as pool:
        failures = [failure for failure in pool.map(partial(run_row, asked.runs), left) if failure]
    if failures:
        raise SystemExit("\n".join(failures))


if __name__ == "__main__":
    main()
