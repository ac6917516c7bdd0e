"""The allocators that the benchmarks compare: pymalloc as built here, the C library's, CPython's own, and the peers.

Owns: their keys, where each is found, how it tells its version, and the environment that puts a program on it.
What must hold: a process that is asked really gets its malloc from the library that it was given, or the peer is left out, with a
reason, never an error. No setting of the caller's reaches a program that is measured. scripts/install-peers installs the peers.
"""

import ctypes
import glob
import os
import re
import subprocess
import sys
from typing import NamedTuple

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
TARGET = os.path.join(ROOT, os.environ.get("CARGO_TARGET_DIR", "target"))
# PYMALLOC_LIBRARY chooses another build, as it does for the tests.
PYMALLOC = os.path.abspath(os.environ.get("PYMALLOC_LIBRARY") or os.path.join(TARGET, "release", "libpymalloc.so"))

# The file of each peer, in the order of the tables: a name that the dynamic linker finds by itself, or what install-peers made.
PEERS = {
    "jemalloc": "libjemalloc.so.2",
    "tcmalloc": "libtcmalloc_minimal.so.4",
    "mimalloc2": "libmimalloc.so.2",
    "mimalloc3": os.path.join(TARGET, "venv-peers/lib/python3*/site-packages/cmeel.prefix/lib/libmimalloc.so.3"),
    "snmalloc": os.path.join(TARGET, "peers/libsnmalloc-*.so"),
    "rpmalloc": os.path.join(TARGET, "peers/librpmalloc-*.so"),
}
# Seconds after which a process that only tells its version is given up.
LIMIT = 30
# What CPython is told, where that is not `malloc`.
PYTHONMALLOC = {"own": "pymalloc", "own-mimalloc": "mimalloc"}
# The dynamic linker's, the allocators' and CPython's own settings, and the benchmarks'.
SETTINGS = ("LD_", "GLIBC_TUNABLES", "MALLOC_", "MIMALLOC_", "TCMALLOC_", "PYMALLOC_", "PYTHON", "BENCH_")


class Allocator(NamedTuple):
    key: str
    name: str
    path: str  # "" where nothing is preloaded

    def environment(self, preload="LD_PRELOAD"):
        """The environment of a program that is to run on this allocator. benches/c/launch.c takes the library by another name."""
        environment = {key: value for key, value in os.environ.items() if not key.startswith(SETTINGS)}
        if self.path:
            environment[preload] = self.path
        return environment

    def python_environment(self, preload="LD_PRELOAD"):
        """The same for CPython. Hashes are equal in all runs, so that all build the same dictionaries and sets."""
        python = {"PYTHONMALLOC": PYTHONMALLOC.get(self.key, "malloc"), "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1"}
        return {**self.environment(preload), **python}


class Missing(NamedTuple):
    key: str
    reason: str


OWN = Allocator("own", "CPython's own", "")
OWN_MIMALLOC = Allocator("own-mimalloc", "CPython's own mimalloc", "")


def compared():
    """What C programs run on, pymalloc and the C library's first, and the peers that are missing."""
    if not os.path.exists(PYMALLOC):
        sys.exit(f"{os.path.relpath(PYMALLOC)} is not built: run make")
    found, missing = [], []
    for key, pattern in {"pymalloc": PYMALLOC, "glibc": "", **PEERS}.items():
        allocator = _peer(key, pattern)
        (found if isinstance(allocator, Allocator) else missing).append(allocator)
    if found[0].key != "pymalloc":
        sys.exit(f"pymalloc does not serve a process that preloads it: {missing[0].reason}")
    return found, missing


def found():
    """The same without the missing ones, which are named on stderr."""
    allocators, missing = compared()
    for key, reason in missing:
        print(f"without {key}: {reason}", file=sys.stderr)
    return allocators


def for_python(allocators, version):
    """What CPython of this version (3, 13) runs on, of those that C programs run on: CPython's own after pymalloc."""
    own = [OWN, OWN_MIMALLOC] if version >= (3, 13) else [OWN]
    return [*allocators[:1], *own, *allocators[1:]]


def _peer(key, pattern):
    """The allocator, if it is there and serves a process that is told to preload it; or Missing."""
    path = _newest(pattern)
    if path is None:
        return Missing(key, _reason(key))
    allocator = Allocator(key, "", path)
    asked = [sys.executable, os.path.abspath(__file__), key, path]
    try:
        answer = subprocess.run(asked, env=allocator.python_environment(), capture_output=True, text=True, timeout=LIMIT)
    except subprocess.TimeoutExpired:
        return Missing(key, "a process that preloads it hangs")
    if answer.returncode != 0:
        return Missing(key, (answer.stderr.strip() or "a process that preloads it fails").splitlines()[-1])
    return allocator._replace(name=answer.stdout.strip())


def _newest(pattern):
    if pattern in ("", PYMALLOC):
        return pattern
    if os.path.isabs(pattern):
        return max(glob.glob(pattern), key=os.path.getmtime, default=None)
    listed = subprocess.run(["/sbin/ldconfig", "-p"], capture_output=True, text=True, check=True).stdout
    found = re.search(rf"^\s*{re.escape(pattern)} .* => (.*)$", listed, re.MULTILINE)
    return found[1] if found else None


def _reason(key):
    try:
        with open(os.path.join(TARGET, "peers", f"{key}.missing"), encoding="utf-8", errors="replace") as reason:
            return reason.read().strip() or "could not be installed"
    except FileNotFoundError:
        return "not installed: scripts/install-peers installs it"


def _pymalloc_version():
    with open(os.path.join(ROOT, "Cargo.toml"), encoding="utf-8") as manifest:
        return re.search(r'^version = "(.*)"', manifest.read(), re.MULTILINE)[1]


class _Symbol(ctypes.Structure):
    """What dladdr tells (`Dl_info`)."""

    _fields_ = [("file", ctypes.c_char_p), ("base", ctypes.c_void_p), ("name", ctypes.c_char_p), ("address", ctypes.c_void_p)]


def _loaded(key, path):
    """The name of the allocator which this process runs on, with the version that it tells; an exit if it is not from that file."""
    process = ctypes.CDLL(None)
    symbol = _Symbol()
    process.dladdr(process.malloc, ctypes.byref(symbol))
    file = os.fsdecode(symbol.file)
    if path and not os.path.samefile(path, file):
        sys.exit(f"malloc comes from {file} although {path} is preloaded")
    if key == "pymalloc":
        version = _pymalloc_version()
    elif key.startswith("mimalloc"):
        number = process.mi_version()
        # 209 is 2.0.9, 30403 is 3.4.3: the form changed with version 3.
        parts = (number // 100, number // 10 % 10, number % 10) if number < 10000 else (
            number // 10000, number // 100 % 100, number % 100)
        key, version = "mimalloc", ".".join(map(str, parts))
    elif key == "jemalloc":
        text = ctypes.c_char_p()
        size = ctypes.c_size_t(ctypes.sizeof(text))
        process.mallctl(b"version", ctypes.byref(text), ctypes.byref(size), None, ctypes.c_size_t(0))
        version = text.value.decode().split("-")[0]
    elif key == "tcmalloc":
        process.tc_version.restype = ctypes.c_char_p
        version = process.tc_version(None, None, None).decode().replace("gperftools ", "")
    elif key == "glibc":
        process.gnu_get_libc_version.restype = ctypes.c_char_p
        version = process.gnu_get_libc_version().decode()
    else:  # install-peers puts it in the name of the file that it builds
        version = re.search(r"-([^-]*)\.so$", file)[1]
    return f"{key} {version}"


if __name__ == "__main__":
    print(_loaded(*sys.argv[1:]))
