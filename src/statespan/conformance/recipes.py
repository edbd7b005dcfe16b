"""The checkpoints of the kit: made by the compiler on the spot, each with its certificate."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, final

import msgspec

from statespan.compiler import Certificate, CompiledModel
from statespan.compiler import compile as compile_exactly
from statespan.compiler.card import model_card
from statespan.compiler.certificate import certify_states
from statespan.compiler.certification import weights_hash
from statespan.compiler.compiled_model import CERTIFICATE
from statespan.compiler.folder import CARD
from statespan.compiler.oracle import Oracle
from statespan.conformance.checkpoint import Checkpoint
from statespan.conformance.compiled import CompiledCheckpoint
from statespan.conformance.evidence import EVIDENCE, Evidence
from statespan.conformance.hybrids import hybrid_of
from statespan.errors import InputError
from statespan.languages.automaton import DFAMachine
from statespan.records import read_bytes, write_atomically
from statespan.registry import Registry

__all__ = [
    "RECIPES",
    "Progress",
    "Recipe",
    "compiled_recipe",
    "make_checkpoints",
    "write_checkpoint",
]

Progress = Callable[[str, int, int, str], None]
"""Called with (what is going on, steps done, steps in all, a remark)."""

MAX_COUNT = 40
"""Counters have infinitely many states; their certificate covers counts up to this."""

DONE = "versions.json"


@final
@dataclass(frozen=True, slots=True)
class Recipe:
    """How a checkpoint is made, and read again.

    Attributes:
        name: that of the checkpoint and of its folder.
        write: writes it, with what proves it, to a folder that is not there yet.
        read: opens such a folder.
        thorough: whether it is left out unless the whole kit is asked for.
        engines: the only engines that it is for, by name; none stands for all.
    """

    name: str
    write: Callable[[Path], None]
    read: Callable[[Path], Checkpoint] = CompiledCheckpoint
    thorough: bool = False
    engines: tuple[str, ...] = ()


RECIPES: Registry[Recipe] = Registry("checkpoint", "checkpoints")
"""Name -> recipe, in the order of the report."""


def make_checkpoints(
    folder: Path,
    names: Sequence[str],
    *,
    progress: Progress = lambda *_: None,
) -> list[Checkpoint]:
    """Return the checkpoints of those names, made where `folder` does not hold them already.

    One that was made with other versions of statespan, torch or transformers is made anew.

    Raises:
        UnknownNameError: there is no recipe of that name.
        InputError: a certificate came out open, or wrong.
        StorageError: something cannot be written.
    """
    made = []
    for place, name in enumerate(names):
        recipe = RECIPES.get(name)
        progress("making checkpoints", place, len(names), name)
        if not _is_made(folder / name):
            recipe.write(folder / name)
            write_atomically(folder / name / DONE, msgspec.json.encode(_versions()))
        made.append(recipe.read(folder / name))
    progress("making checkpoints", len(names), len(names), "")
    return made


def _versions() -> dict[str, str]:
    return {name: version(name) for name in ("statespan", "torch", "transformers")}


def _is_made(folder: Path) -> bool:
    done = folder / DONE
    return done.is_file() and msgspec.json.decode(read_bytes(done)) == _versions()


def write_checkpoint(compiled: CompiledModel, folder: Path) -> None:
    """Write a compiled model with a certificate, or refuse it.

    Counters, which have infinitely many states, are certified for counts up to 40.

    Raises:
        InputError: no certificate proves it.
    """
    counts = None if compiled.language.is_regular else MAX_COUNT
    certificate = compiled.certify() if counts is None else _certify_counts(compiled, counts)
    if not certificate.proves:
        raise InputError(
            f"{compiled.report.language} for {compiled.report.target} has no proof that it is "
            f"right ({certificate.remark}), so it is not used as a checkpoint."
        )
    compiled.save_pretrained(folder)
    extra = {} if counts is None else {"max_count": counts}
    table: dict[str, Any] = {
        **msgspec.to_builtins(certificate),
        **extra,
        "proves": certificate.proves,
        "dtype": compiled.report.dtype,
        "weights_sha256": weights_hash(folder),
        "versions": _versions(),
    }
    _write_json(folder / CERTIFICATE, table)
    card = model_card(compiled.report, compiled.language, None, certificate)
    write_atomically(folder / CARD, card.encode())
    evidence = Evidence(weights_sha256=weights_hash(folder), blank=_blank_state(compiled))
    _write_json(folder / EVIDENCE, msgspec.to_builtins(evidence))


def _write_json(path: Path, value: Any) -> None:
    write_atomically(path, msgspec.json.format(msgspec.json.encode(value)))


def _certify_counts(compiled: CompiledModel, max_count: int) -> Certificate:
    oracle = Oracle.of(compiled.language)
    return certify_states(compiled.model, oracle, valid_prefixes_only=True, max_count=max_count)


def _blank_state(compiled: CompiledModel) -> int | None:
    """Return the state of the minimal automaton that the model is in before the first token.

    It must be so for every input: each state is tried, with a closed search.
    """
    if compiled.dfa is None or compiled.report.valid_prefixes_only:
        return None
    oracle = Oracle(DFAMachine(compiled.dfa))
    for state in range(compiled.dfa.num_states):
        if certify_states(compiled.model, oracle, blank=state).proves:
            return state
    return None


def compiled_recipe(
    language: str,
    target: str,
    dtype: str,
    *,
    name: str | None = None,
    hybrid: str | None = None,
    thorough: bool = False,
) -> Recipe:
    """Return the recipe of `language`, compiled for `target`, as a `hybrid` if one is named."""

    def write(folder: Path) -> None:
        compiled = compile_exactly(language, target, dtype=dtype)
        write_checkpoint(compiled if hybrid is None else hybrid_of(compiled, hybrid), folder)

    short = {"float32": "f32", "bfloat16": "bf16"}[dtype]
    full_name = f"{name or language}-{hybrid or target}-{short}"
    return Recipe(full_name, write, thorough=thorough)


BOUNDED_DYCK = "bounded-dyck:brackets=2,depth=3"
WORD_PROBLEM = "word-problem:generators=adjacent"

for _recipe in (
    compiled_recipe("flip-flop", "mamba", "float32"),
    compiled_recipe("flip-flop", "mamba", "bfloat16"),
    compiled_recipe("flip-flop", "mamba2", "float32"),
    compiled_recipe("flip-flop", "mamba2", "bfloat16"),
    compiled_recipe("flip-flop", "mamba2", "float32", hybrid="bamba"),
    compiled_recipe("tomita-7", "mamba", "float32"),
    compiled_recipe("tomita-7", "mamba2", "float32"),
    compiled_recipe("tomita-7", "mamba2", "bfloat16", hybrid="bamba"),
    compiled_recipe("d-4", "mamba", "float32"),
    compiled_recipe("d-4", "mamba2", "bfloat16"),
    compiled_recipe("d-12", "mamba", "bfloat16", thorough=True),
    compiled_recipe("d-12", "mamba2", "float32", thorough=True),
    compiled_recipe(BOUNDED_DYCK, "mamba", "bfloat16", name="bounded-dyck"),
    compiled_recipe(BOUNDED_DYCK, "mamba2", "float32", name="bounded-dyck"),
    compiled_recipe("dyck-1", "mamba", "float32"),
    compiled_recipe("shuffle-2", "mamba", "bfloat16"),
    compiled_recipe(WORD_PROBLEM, "olmo-hybrid", "float32", name="s5"),
    compiled_recipe(WORD_PROBLEM, "olmo-hybrid", "bfloat16", name="s5"),
):
    RECIPES.add(_recipe.name, _recipe)
