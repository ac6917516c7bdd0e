"""x86-64 with the GNU C library: this machine itself, for the record of what was tested. `make test` runs more."""

import os
import platform
import subprocess

from aarch64 import of_regrtest
from runs import TARGET, command, folder, of_cargo

NAME = "x86_64"
SHARED = os.path.join(TARGET, "release", "libpymalloc.so")
# Tests in C of the short list: no figure of theirs depends on what else the machine does.
SHORT = ["standards::", "inspect::", "own_names::", "stress_seed_2", "fork_threads", "exit_handlers", "destructors", "first_blocks", "settings::a_warning", "misuse::canonical",
         "statistics_are_exact", "a_plugin", "short_threads::preloaded", "producer_and_consumer"]
PYTHON_SHORT = ["test_dict", "test_json", "test_set", "test_gc"]
PYTHON = ["test_dict", "test_list", "test_set", "test_gc", "test_bytes", "test_json", "test_decimal", "test_pickle"]


def install():
    command(["make", "--no-print-directory", "test-deps"])


def build():
    os.makedirs(folder(NAME), exist_ok=True)
    command(["make", "--no-print-directory", "all"])


def c_library():
    return " ".join(platform.libc_ver())


def test(runs, short):
    runs.run("C programs", ["cargo", "test", "--quiet", "--no-fail-fast", "--test", "c_tests", "--", *(SHORT if short else [])], of_cargo)
    listed = subprocess.run(["scripts/cpython-suite", "--list"], stdout=subprocess.PIPE, text=True, check=True).stdout
    for line in listed.splitlines():
        version, python, tests = line.split()
        if tests == "tests":
            runs.run("CPython's tests", [python, "-m", "test", *(PYTHON_SHORT if short else PYTHON)], of_regrtest, version=version, LD_PRELOAD=SHARED, PYTHONMALLOC="malloc")
