"""The allocators that the benchmarks compare: pymalloc as built here, the C library's, and the peers that are installed.

Owns: where peers are looked for and how each tells its version (run as a program, preloaded with one, it prints that).
What is not installed is left out, never an error: scripts/install-peers installs all of them.
"""

import ctypes
import glob
import os
import subprocess
import sys
from typing import NamedTuple

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
TARGET = os.path.join(ROOT, os.environ.get("CARGO_TARGET_DIR", "target"))
PYMALLOC = os.path.join(TARGET, "release", "libpymalloc.so")

# Where scripts/install-peers puts what is not a Debian package.
VENV_LIBRARIES = [os.path.join(TARGET, "venv-peers/lib/python3*/site-packages/cmeel.prefix/lib/libmimalloc.so.3")]
# What the dynamic linker finds by itself.
SYSTEM_LIBRARIES = ["libmimalloc.so.2", "libjemalloc.so.2", "libtcmalloc_minimal.so.4"]


class Allocator(NamedTuple):
    name: str
    path: str  # "" for the C library's own

    def environment(self):
        """The environment of a program that is to run on this allocator."""
        environment = {key: value for key, value in os.environ.items() if not key.startswith("LD_")}
        if self.path:
            environment["LD_PRELOAD"] = self.path
        return environment


def loaded_version():
    """The name and version that the allocator which this process runs on gives of itself."""
    process = ctypes.CDLL(None)
    if hasattr(process, "mi_version"):
        number = process.mi_version()
        # 209 is 2.0.9, 30403 is 3.4.3: the form changed with version 3.
        major, minor, patch = (number // 100, number // 10 % 10, number % 10) if number < 10000 else (
            number // 10000, number // 100 % 100, number % 100)
        return f"mimalloc {major}.{minor}.{patch}"
    if hasattr(process, "mallctl"):
        text = ctypes.c_char_p()
        size = ctypes.c_size_t(ctypes.sizeof(text))
        process.mallctl(b"version", ctypes.byref(text), ctypes.byref(size), None, ctypes.c_size_t(0))
        return "jemalloc " + text.value.decode().split("-")[0]
    if hasattr(process, "tc_version"):
        process.tc_version.restype = ctypes.c_char_p
        return process.tc_version(None, None, None).decode().replace("gperftools", "tcmalloc")
    process.gnu_get_libc_version.restype = ctypes.c_char_p
    return "glibc " + process.gnu_get_libc_version().decode()


def _named(path):
    """An allocator by its own name: asked of a fresh process, since two allocators do not go into one."""
    unnamed = Allocator("", path)
    asked = [sys.executable, os.path.abspath(__file__)]
    answer = subprocess.run(asked, env=unnamed.environment(), capture_output=True, text=True, check=True)
    return unnamed._replace(name=answer.stdout.strip())


def _system_paths():
    listed = subprocess.run(["/sbin/ldconfig", "-p"], capture_output=True, text=True, check=True).stdout
    found = {}
    for line in listed.splitlines():
        name, arrow, path = line.partition(" => ")
        if arrow:
            found.setdefault(name.split()[0], path)
    return [found[name] for name in SYSTEM_LIBRARIES if name in found]


def compared():
    """pymalloc, then the C library's, then every peer found."""
    if not os.path.exists(PYMALLOC):
        sys.exit(f"{os.path.relpath(PYMALLOC)} is not built: run make")
    venv_paths = [path for pattern in VENV_LIBRARIES for path in sorted(glob.glob(pattern))]
    return [Allocator("pymalloc", PYMALLOC), *map(_named, ["", *venv_paths, *_system_paths()])]


if __name__ == "__main__":
    print(loaded_version())
