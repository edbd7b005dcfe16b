"""Compile the CPU kernels while a wheel is built; where that cannot be, the wheel has none.

The package then runs on torch alone, and `statespan doctor` says so.
"""

from __future__ import annotations

import os
import platform
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

KERNELS = Path("src/statespan/models/ops/kernels")
FLAGS = [
    "-O3",
    "-std=gnu11",
    "-fPIC",
    "-shared",
    "-pthread",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-ffp-contract=fast",
]
X86_LEVELS = {"avx512": "-march=x86-64-v4", "avx2": "-march=x86-64-v3", "default": "-march=x86-64"}
"""One library for each level that `torch.backends.cpu` tells apart."""


class KernelHook(BuildHookInterface[Any]):
    """Adds `kernels_LEVEL.so` to the package, for each level that the compiler can do."""

    PLUGIN_NAME = "custom"

    def initialize(self, _version: str, build_data: dict[str, Any]) -> None:
        """Compile; a failure is told and leaves the wheel without kernels."""
        if self.target_name != "wheel" or os.environ.get("STATESPAN_NO_KERNELS"):
            return
        built = [name for name in self._levels() if self._compile(name)]
        if not built:
            self.app.display_warning("No C compiler made the kernels: torch does their work.")
            return
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{self._platform()}"
        for name in built:
            library = KERNELS / f"kernels_{name}.so"
            build_data["force_include"][str(library)] = str(library.relative_to("src"))

    def _levels(self) -> dict[str, str]:
        if sys.platform not in ("linux", "darwin"):
            return {}
        x86 = platform.machine() in ("x86_64", "AMD64")
        return X86_LEVELS if x86 else {"default": ""}

    def _compile(self, name: str) -> bool:
        sources = sorted(str(path) for path in (Path(self.root) / KERNELS).glob("*.c"))
        library = Path(self.root) / KERNELS / f"kernels_{name}.so"
        compiler = shlex.split(os.environ.get("CC", "cc"))
        command = [*compiler, *FLAGS, *self._levels()[name].split(), *sources, "-lm"]
        try:
            subprocess.run(
                [*command, "-o", str(library)], check=True, capture_output=True, text=True
            )
        except FileNotFoundError:
            return False
        except subprocess.CalledProcessError as error:
            self.app.display_warning(error.stderr)
            return False
        return True

    def _platform(self) -> str:
        from packaging.tags import platform_tags  # noqa: PLC0415 (comes with hatchling)

        return next(iter(platform_tags()))
