"""Exact weights: language → cascade → program → weights of a target."""

from statespan.compiler.cascade import Cascade
from statespan.compiler.certificate import Certificate
from statespan.compiler.certification import certify
from statespan.compiler.compilation import compile  # noqa: A004
from statespan.compiler.compiled_model import CompiledModel
from statespan.compiler.decomposition import decompose
from statespan.compiler.manifest import Report
from statespan.compiler.targets import TARGETS, Target
from statespan.compiler.verification import Verification

__all__ = [
    "TARGETS",
    "Cascade",
    "Certificate",
    "CompiledModel",
    "Report",
    "Target",
    "Verification",
    "certify",
    "compile",
    "decompose",
]
