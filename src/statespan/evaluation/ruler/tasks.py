"""The 11 tasks, in the order and the groups of the span-expanded attention paper."""

from __future__ import annotations

from statespan.evaluation.ruler.common_words import CommonWordsTask
from statespan.evaluation.ruler.frequent_words import FrequentWordsTask
from statespan.evaluation.ruler.needles import NeedleTask
from statespan.evaluation.ruler.task import RULER_TASKS
from statespan.evaluation.ruler.variables import VariableTask

__all__: list[str] = []

SINGLE, MULTIKEY, SEVERAL = "NIAH-S", "NIAH-M", "NIAH-M-QV"

RULER_TASKS.add("niah_single_1", NeedleTask(SINGLE, "noise"))
RULER_TASKS.add("niah_single_2", NeedleTask(SINGLE, "prose"))
RULER_TASKS.add("niah_single_3", NeedleTask(SINGLE, "prose", value="uuids"))
RULER_TASKS.add("niah_multikey_1", NeedleTask(MULTIKEY, "prose", keys=4))
RULER_TASKS.add("niah_multikey_2", NeedleTask(MULTIKEY, "needles"))
RULER_TASKS.add("niah_multikey_3", NeedleTask(MULTIKEY, "needles", key="uuids", value="uuids"))
RULER_TASKS.add("niah_multivalue", NeedleTask(SEVERAL, "prose", values=4))
RULER_TASKS.add("niah_multiquery", NeedleTask(SEVERAL, "prose", keys=4, queries=4))
RULER_TASKS.add("vt", VariableTask())
RULER_TASKS.add("cwe", CommonWordsTask())
RULER_TASKS.add("fwe", FrequentWordsTask())
