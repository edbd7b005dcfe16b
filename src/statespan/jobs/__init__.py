"""The few things a user does from end to end, one file each."""

from statespan.jobs.probe import (
    EvaluationConfig,
    ProbeConfig,
    ProbeResult,
    probe,
    probe_config,
    resume_probe,
)

__all__ = [
    "EvaluationConfig",
    "ProbeConfig",
    "ProbeResult",
    "probe",
    "probe_config",
    "resume_probe",
]
