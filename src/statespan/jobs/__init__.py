"""The few things a user does from end to end, one file each."""

from statespan.jobs.evaluate import EvaluateResult, evaluate, resume_evaluate
from statespan.jobs.evaluate_config import EvaluateConfig, evaluate_config
from statespan.jobs.extend import ExtendResult, extend, resume_extend
from statespan.jobs.extend_config import ExtendConfig, extend_config
from statespan.jobs.extend_default import default_extension, launch_config
from statespan.jobs.fleet import FleetResult, probe_fleet, resume_fleet
from statespan.jobs.fleet_config import FleetConfig, fleet_config
from statespan.jobs.pretrain import PretrainResult, pretrain, resume_pretrain
from statespan.jobs.pretrain_config import MeasurementConfig, PretrainConfig, pretrain_config
from statespan.jobs.probe import ProbeResult, probe, resume_probe
from statespan.jobs.probe_config import EvaluationConfig, ProbeConfig, is_fleet, probe_config
from statespan.jobs.refutation import refute_run
from statespan.jobs.report import ReportResult, report
from statespan.jobs.sweep import SweepResult, resume_sweep, sweep
from statespan.jobs.sweep_cells import Cell, sweep_cells
from statespan.jobs.sweep_config import RayConfig, SweepConfig, sweep_config
from statespan.jobs.sweep_ranges import Range

__all__ = [
    "Cell",
    "EvaluateConfig",
    "EvaluateResult",
    "EvaluationConfig",
    "ExtendConfig",
    "ExtendResult",
    "FleetConfig",
    "FleetResult",
    "MeasurementConfig",
    "PretrainConfig",
    "PretrainResult",
    "ProbeConfig",
    "ProbeResult",
    "Range",
    "RayConfig",
    "ReportResult",
    "SweepConfig",
    "SweepResult",
    "default_extension",
    "evaluate",
    "evaluate_config",
    "extend",
    "extend_config",
    "fleet_config",
    "is_fleet",
    "launch_config",
    "pretrain",
    "pretrain_config",
    "probe",
    "probe_config",
    "probe_fleet",
    "refute_run",
    "report",
    "resume_evaluate",
    "resume_extend",
    "resume_fleet",
    "resume_pretrain",
    "resume_probe",
    "resume_sweep",
    "sweep",
    "sweep_cells",
    "sweep_config",
]
