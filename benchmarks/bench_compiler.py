"""Compiled models: sizes, checks word by word, certificates for every length, and noise.

Run: `python benchmarks/bench_compiler.py --out benchmarks/results/compiler.json`. Parts can be
chosen (`--parts sizes random large noise long`); `--table` prints the sizes as a table.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import torch
from machine import describe_machine

from statespan import judge, language
from statespan.compiler import TARGETS, CompiledModel, decompose
from statespan.compiler import compile as compile_exactly
from statespan.compiler.block_certificate import certify_blocks
from statespan.compiler.cascade import Cascade
from statespan.compiler.certificate import Certificate, certify_states
from statespan.compiler.compilation import FormChoice
from statespan.compiler.folder import build_model
from statespan.compiler.oracle import Oracle
from statespan.compiler.verification import verify
from statespan.compiler.weights import convert
from statespan.languages import LANGUAGES, Language, language_from_text
from statespan.languages.automaton import DFA
from statespan.training import Vocabulary

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "compiler"))
from random_automata import random_aperiodic_dfa

DTYPES = ("float32", "bfloat16")
EXTRA = ("bounded-dyck:brackets=2,depth=2", "bounded-dyck:brackets=2,depth=3")
CLOSED: tuple[tuple[str, FormChoice], ...] = (
    ("flip-flop", "closed"),
    ("bounded-dyck:brackets=2,depth=3", "closed"),
    ("bounded-dyck:brackets=8,depth=10", "closed"),
    *((name, "closed") for name in ("dyck-1", "shuffle-2", "shuffle-4", "shuffle-6")),
    *((name, "closed") for name in ("boolean-3", "boolean-5", "anbn", "anbncn", "anbncndn")),
)
NOISE = (1e-6, 1e-5, 1e-4, 1e-3, 3e-3, 1e-2)
LONG = (("mamba", "d-4"), ("mamba", "flip-flop"), ("mamba2", "d-4"), ("mamba2", "tomita-4"))


def star_free_languages() -> list[str]:
    """Return the star-free languages of the catalogue, and two more."""
    names = sorted(LANGUAGES.names())
    return [name for name in names if judge(language(name)).star_free] + list(EXTRA)


def size_rows() -> Iterator[dict[str, Any]]:
    """Yield each language on each target that takes it, with its certificates."""
    names = star_free_languages()
    groups = ("parity", "aa-star", "aaaa-star", "abab-star", "tomita-3", "tomita-5", "tomita-6")
    words = tuple(f"word-problem:group=S_{n},generators=adjacent" for n in (3, 4, 5))
    for target in ("mamba", "mamba2", "diagonal", "olmo-hybrid"):
        for name in names:
            yield _size_row(name, target, "cascade")
        if target in {"mamba", "diagonal"}:
            for name, form in CLOSED:
                yield _size_row(name, target, form)
        if target == "olmo-hybrid":
            for name in (*groups, *words):
                yield _size_row(name, target, "auto")


def _size_row(name: str, target: str, form: FormChoice) -> dict[str, Any]:
    row: dict[str, Any] = {"language": name, "target": target, "form": form}
    for dtype in DTYPES:
        compiled = compile_exactly(
            language_from_text(name),
            target,
            form=form,
            dtype=dtype,
        )
        report = compiled.report
        row |= {
            "layers": report.layers,
            "d_model": report.d_model,
            "parameters": report.parameters,
            "components": report.components,
            "terms": report.terms,
            "states": report.states,
            "max_count": report.max_count,
        }
        row[dtype] = {"seconds": round(report.seconds, 2), "margin": report.margin}
        counts = report.max_count is not None
        if target != "diagonal" and not counts and (report.states or form == "closed"):
            row[dtype]["certificate"] = _certificate_row(compiled.certify)
    print(json.dumps(row), flush=True)
    return row


def _certificate_row(search: Callable[[], Certificate]) -> dict[str, Any]:
    began = time.perf_counter()
    certificate = search()
    return {
        "proves": certificate.proves,
        "method": certificate.method,
        "states": certificate.states,
        "transitions": certificate.transitions,
        "wrong": len(certificate.wrong),
        "exact": certificate.exact,
        "seconds": round(time.perf_counter() - began, 2),
    }


def random_rows(count: int, sizes: tuple[int, int], seed: int) -> Iterator[dict[str, Any]]:
    """Yield random aperiodic automata on both targets, in both precisions."""
    rng = Random(seed)
    for number in range(count):
        dfa = random_aperiodic_dfa(rng.randint(*sizes), rng.choice((2, 3)), rng=rng)
        began = time.perf_counter()
        cascade = decompose(dfa)
        row: dict[str, Any] = {
            "number": number,
            "states": dfa.num_states,
            "letters": len(dfa.alphabet),
            "levels": cascade.num_levels,
            "terms": [len(component.terms) for component in cascade.components],
            "decompose_seconds": round(time.perf_counter() - began, 2),
        }
        for target in ("mamba", "mamba2"):
            for dtype in DTYPES:
                row[f"{target} {dtype}"] = _check(dfa, cascade, target, dtype, number)
        print(json.dumps(row), flush=True)
        yield row


def _check(dfa: DFA, cascade: Cascade, target: str, dtype: str, seed: int) -> dict[str, Any]:
    weights = TARGETS.get(target).from_cascade(cascade)
    model = build_model(weights.config, convert(weights, dtype), dtype)
    language = Language.from_dfa(dfa)
    check = verify(model, language, rng=Random(seed), max_length=3, num_words=4, long_length=1_000)

    def search() -> Certificate:
        certificate = certify_states(model, Oracle.of(language), limit=1_000)
        if certificate.closed or certificate.wrong:
            return certificate
        return certify_blocks(model, weights.plan, cascade, dfa)

    return {
        "layers": weights.config["num_hidden_layers"],
        "parameters": weights.num_parameters,
        "positions": check.positions,
        "errors": check.errors,
        "certificate": _certificate_row(search),
    }


def noise_rows() -> Iterator[dict[str, Any]]:
    """Yield, by the noise on all weights, the positions with a wrong answer."""
    for name in ("tomita-7", "flip-flop", "d-4", "d-12", "bounded-dyck:brackets=2,depth=3"):
        for robust in (False, True):
            compiled = compile_exactly(
                language_from_text(name), "mamba", form="cascade", robust=robust
            )
            row: dict[str, Any] = {"language": name, "robust": robust}
            row["parameters"] = compiled.report.parameters
            row["wrong_positions"] = {str(level): _noisy_errors(compiled, level) for level in NOISE}
            print(json.dumps(row), flush=True)
            yield row


@torch.no_grad()
def _noisy_errors(compiled: CompiledModel, level: float) -> list[int]:
    """Return wrong positions, of 8 words of 300 symbols, for five draws of the noise."""
    language, model = compiled.language, compiled.model
    vocabulary = Vocabulary(language.alphabet)
    words = language.sample(length=(290, 300), count=8, rng=Random(0))
    counts = []
    for seed in range(5):
        generator = torch.Generator().manual_seed(seed)
        kept = [weight.clone() for weight in model.parameters()]
        for weight in model.parameters():
            weight.mul_(1 + level * torch.randn(weight.shape, generator=generator))
        wrong = 0
        for word in words:
            logits = model(torch.tensor([vocabulary.encode(word)]), use_cache=False).logits[0, 1:]
            wanted = [vocabulary.answers(s) for s in language.next_symbol_sets(word)]
            said = logits[:, vocabulary.answer_ids] > 0
            wrong += int((said != torch.tensor(wanted)).any(1).sum())
        for weight, value in zip(model.parameters(), kept, strict=True):
            weight.copy_(value)
        counts.append(wrong)
    return counts


def long_rows() -> Iterator[dict[str, Any]]:
    """Yield checks that end with words of a million symbols."""
    for target, name in LONG:
        for dtype in DTYPES:
            compiled = compile_exactly(language_from_text(name), target, dtype=dtype)
            began = time.perf_counter()
            check = compiled.verify()
            row: dict[str, Any] = {"language": name, "target": target, "dtype": dtype}
            row |= {"positions": check.positions, "errors": check.errors, "margin": check.margin}
            row["seconds"] = round(time.perf_counter() - began, 1)
            print(json.dumps(row), flush=True)
            yield row


PARTS: dict[str, Callable[[argparse.Namespace], Iterator[dict[str, Any]]]] = {
    "sizes": lambda _: size_rows(),
    "random": lambda given: random_rows(given.count, (2, 8), 0),
    "large": lambda _: random_rows(8, (10, 10), 1),
    "noise": lambda _: noise_rows(),
    "long": lambda _: long_rows(),
}


def random_summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return what came out of random automata, by target and precision."""
    summary: dict[str, Any] = {"automata": len(rows)}
    for key in (f"{target} {dtype}" for target in ("mamba", "mamba2") for dtype in DTYPES):
        cells = [row[key] for row in rows]
        proofs = [cell["certificate"] for cell in cells]
        summary[key] = {
            "positions": sum(cell["positions"] for cell in cells),
            "errors": sum(cell["errors"] for cell in cells),
            "proved": sum(proof["proves"] for proof in proofs),
            "proved_by_blocks": sum(p["proves"] and p["method"] == "blocks" for p in proofs),
            "wrong": sum(proof["wrong"] for proof in proofs),
            "median_parameters": statistics.median(cell["parameters"] for cell in cells),
            "most_states": max(proof["states"] for proof in proofs),
        }
    return summary


def print_table(rows: list[dict[str, Any]]) -> None:
    """Print the sizes as a table in Markdown."""
    print("| language | target | form | layers | d_model | parameters | certificate |")
    print("| --- | --- | --- | ---: | ---: | ---: | --- |")
    for row in rows:
        proof = row["float32"].get("certificate")
        shown = "" if proof is None else f"{proof['states']:,} {proof['method']}"
        if proof is not None and not proof["proves"]:
            shown = f"open at {shown}"
        print(
            f"| {row['language']} | {row['target']} | {row['form']} | {row['layers']} | "
            f"{row['d_model']} | {row['parameters']:,} | {shown} |"
        )


def main() -> None:
    """Measure, print a line each and, if asked, write the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, help="a JSON file; parts that are not run are kept")
    parser.add_argument("--parts", nargs="*", choices=PARTS, default=list(PARTS))
    parser.add_argument("--count", type=int, default=300, help="how many random automata")
    parser.add_argument("--table", action="store_true", help="print the table of sizes of --out")
    given = parser.parse_args()
    if given.table:
        print_table(json.loads(given.out.read_text())["sizes"])
        return
    torch.set_num_threads(1)
    for part in given.parts:
        rows = list(PARTS[part](given))
        if given.out:
            known = json.loads(given.out.read_text()) if given.out.exists() else {}
            known |= {"machine": describe_machine(), part: rows}
            if part in {"random", "large"}:
                known[f"{part}_summary"] = random_summary(rows)
            given.out.write_text(json.dumps(known, indent=1) + "\n")


if __name__ == "__main__":
    main()
