"""Which weights of a pretrained model learn: LoRA, LoRA+ and HyLoRA as plain PEFT adapters."""

from statespan.adapters.adaptation import adapt
from statespan.adapters.audit_report import Audit, AuditRow
from statespan.adapters.auditing import audit
from statespan.adapters.few_bits import quantization
from statespan.adapters.merging import merge
from statespan.adapters.methods import METHODS, Method, hylora
from statespan.adapters.sharing import share_adapters

__all__ = [
    "METHODS",
    "Audit",
    "AuditRow",
    "Method",
    "adapt",
    "audit",
    "hylora",
    "merge",
    "quantization",
    "share_adapters",
]
