"""Puts the library and `pymalloc-watch` into the wheel, and gives it its tag.

Owns: what is taken from where. PYMALLOC_WHEEL_FILES names the folder with what was built, and PYMALLOC_WHEEL_PLATFORM what it runs on; `make wheels` sets both.
Without them `make wheel-files` builds for this machine, and the wheel is for this machine. What must hold: one wheel for all CPythons, with no path of the
machine that it was built on in it.
"""

import os
import pathlib
import subprocess
import sysconfig
from typing import Any, Dict

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

BUILT = ("libpymalloc.so", "libpymalloc-deepbind.so", "pymalloc-watch")


class Wheel(BuildHookInterface):  # type: ignore[type-arg]
    def initialize(self, version: str, build_data: Dict[str, Any]) -> None:
        # An editable installation looks for all that in the checkout.
        if version == "editable":
            return
        files = self.files()
        for name in BUILT:
            build_data["force_include"][str(files / name)] = f"pymalloc/{name}"
        build_data["sbom_files"] = sorted(str(path) for path in files.glob("*.cdx.json"))
        platform = os.environ.get("PYMALLOC_WHEEL_PLATFORM") or sysconfig.get_platform().replace("-", "_").replace(".", "_")
        build_data["tag"] = f"py3-none-{platform}"
        build_data["pure_python"] = False

    def files(self) -> pathlib.Path:
        """The folder with what was built."""
        given = os.environ.get("PYMALLOC_WHEEL_FILES")
        if given:
            return pathlib.Path(given)
        top = pathlib.Path(self.root).parent
        if not (top / "Makefile").exists():
            raise RuntimeError("this is not pymalloc's checkout: install a wheel of `make wheels`")
        environment = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL")}
        subprocess.run(["make", "--no-print-directory", "wheel-files"], cwd=top, env=environment, check=True)
        return top / os.environ.get("CARGO_TARGET_DIR", "target") / "wheel-files"
