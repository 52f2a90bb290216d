"""Adds the compiled core to what hatchling installs, where cargo can build it; else the wheel is pure Python."""

import runpy
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from packaging.tags import sys_tags


class CompiledCore(BuildHookInterface[Any]):
    """The hook that pyproject.toml names."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build the library; say in one line when there is none. `version` is `standard` or `editable`."""
        core = runpy.run_path(str(Path(self.root) / "native" / "build.py"))
        fault = core["build"]()
        if fault is not None:
            self.app.display_warning(f"no compiled core: {fault}; the Python core counts instead ({version} install)")
            return
        # It is ignored by git, and would therefore be left out.
        build_data["artifacts"].append(core["LIBRARY"].relative_to(self.root).as_posix())
        build_data["pure_python"] = False
        build_data["tag"] = f"cp311-abi3-{next(iter(sys_tags())).platform}"
