"""The few things a user does from end to end, one file each."""

from statespan.jobs.evaluate import EvaluateResult, evaluate, resume_evaluate
from statespan.jobs.evaluate_config import EvaluateConfig, evaluate_config
from statespan.jobs.pretrain import PretrainResult, pretrain, resume_pretrain
from statespan.jobs.pretrain_config import MeasurementConfig, PretrainConfig, pretrain_config
from statespan.jobs.probe import ProbeResult, probe, resume_probe
from statespan.jobs.probe_config import EvaluationConfig, ProbeConfig, is_sweep, probe_config
from statespan.jobs.sweep import SweepResult, resume_sweep, sweep
from statespan.jobs.sweep_config import SweepConfig, sweep_config

__all__ = [
    "EvaluateConfig",
    "EvaluateResult",
    "EvaluationConfig",
    "MeasurementConfig",
    "PretrainConfig",
    "PretrainResult",
    "ProbeConfig",
    "ProbeResult",
    "SweepConfig",
    "SweepResult",
    "evaluate",
    "evaluate_config",
    "is_sweep",
    "pretrain",
    "pretrain_config",
    "probe",
    "probe_config",
    "resume_evaluate",
    "resume_pretrain",
    "resume_probe",
    "resume_sweep",
    "sweep",
    "sweep_config",
]
