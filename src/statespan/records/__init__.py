"""What happened: typed records, run directories, provenance, configs."""

from statespan.records.config import read_toml, to_struct, write_toml
from statespan.records.evaluations import (
    EvaluationRecord,
    HarnessRecord,
    ModelRecord,
    PerplexityRecord,
    PositionLoss,
    PredictionRecord,
    RecallRecord,
    RulerRecord,
)
from statespan.records.extensions import ExtensionRecord
from statespan.records.records import (
    BinRecord,
    CellRecord,
    EndRecord,
    ErrorRecord,
    HeldOutRecord,
    LengthRecord,
    MemberRecord,
    OutcomeRecord,
    PositionRecord,
    PretrainingRecord,
    RecognitionRecord,
    Record,
    RunRecord,
    TokensRecord,
    TrainingRecord,
    WeightsFrom,
)
from statespan.records.results_store import ResultRow, ResultsStore
from statespan.records.retrievals import RetrievalRecord
from statespan.records.run_directory import RunDirectory
from statespan.records.storage import read_bytes, write_atomically
from statespan.records.verdicts import RefutationRecord, VerdictRecord

__all__ = [
    "BinRecord",
    "CellRecord",
    "EndRecord",
    "ErrorRecord",
    "EvaluationRecord",
    "ExtensionRecord",
    "HarnessRecord",
    "HeldOutRecord",
    "LengthRecord",
    "MemberRecord",
    "ModelRecord",
    "OutcomeRecord",
    "PerplexityRecord",
    "PositionLoss",
    "PositionRecord",
    "PredictionRecord",
    "PretrainingRecord",
    "RecallRecord",
    "RecognitionRecord",
    "Record",
    "RefutationRecord",
    "ResultRow",
    "ResultsStore",
    "RetrievalRecord",
    "RulerRecord",
    "RunDirectory",
    "RunRecord",
    "TokensRecord",
    "TrainingRecord",
    "VerdictRecord",
    "WeightsFrom",
    "read_bytes",
    "read_toml",
    "to_struct",
    "write_atomically",
    "write_toml",
]
