"""The few things a user does from end to end, one file each."""

from statespan.jobs.probe import ProbeResult, probe, resume_probe
from statespan.jobs.probe_config import EvaluationConfig, ProbeConfig, is_sweep, probe_config
from statespan.jobs.sweep import SweepResult, resume_sweep, sweep
from statespan.jobs.sweep_config import SweepConfig, sweep_config

__all__ = [
    "EvaluationConfig",
    "ProbeConfig",
    "ProbeResult",
    "SweepConfig",
    "SweepResult",
    "is_sweep",
    "probe",
    "probe_config",
    "resume_probe",
    "resume_sweep",
    "sweep",
    "sweep_config",
]
