"""x86-64 with an old GNU C library, that of Debian 11: the oldest whose packages can be had.

Its files are unpacked and not installed. A program is compiled against them and names their loader and their folder, so that it starts like any other
program of this machine, with the old library in it. C++ is left out: this machine's compiler brings a newer library of its own.
"""

import os
import re
import subprocess

from aarch64 import of_regrtest
from runs import command, folder, install_packages, lacking, of_cargo, unpack

NAME = "old_glibc"
TARGET = "x86_64-unknown-linux-gnu"
ROOT = folder(NAME, "root")
BUILD = folder(NAME, "build")
SUITE = "bullseye"
PACKAGES = ["libc6-dev", "libgcc-s1", "python3.9", "libpython3.9-testsuite"]
PROGRAMS = {"mmdebstrap": "mmdebstrap", "/usr/share/keyrings/debian-archive-keyring.gpg": "debian-archive-keyring", "gcc": "gcc"}
FOLDERS = [os.path.join(ROOT, "lib/x86_64-linux-gnu"), os.path.join(ROOT, "usr/lib/x86_64-linux-gnu")]
LOADER = os.path.join(ROOT, "lib/x86_64-linux-gnu/ld-linux-x86-64.so.2")

# Tests in C of the short list: what depends on the C library.
SHORT = ["standards::preloaded", "fork_", "exit_handlers", "library_destructors", "stress_seed_2", "first_blocks", "destructors_of_keys",
         "settings::a_warning", "short_threads::preloaded", "a_plugin"]
PYTHON = ["test_dict", "test_json", "test_set"]
PYTHON_LONG = [*PYTHON, "test_list", "test_gc", "test_bytes", "test_decimal", "test_pickle", "test_struct", "test_re"]


def install():
    os.makedirs(folder(NAME), exist_ok=True)
    install_packages(lacking(PROGRAMS))
    unpack(ROOT, SUITE, PACKAGES)


def c_library():
    told = subprocess.run([LOADER, "--library-path", ":".join(FOLDERS), os.path.join(FOLDERS[0], "libc.so.6")], stdout=subprocess.PIPE, text=True, check=True).stdout
    return "glibc " + re.search(r"version ([0-9.]+)\.", told).group(1)


def library(name):
    return os.path.join(BUILD, TARGET, "release", name)


def build():
    # As .cargo/config.toml, which these replace.
    flags = ["-Cllvm-args=--inline-threshold=60", "-Cllvm-args=--align-loops=1", f"-Clink-arg=--sysroot={ROOT}", f"-Clink-arg=-B{FOLDERS[1]}"]
    command(["cargo", "build", "--quiet", "--release", "--package", "pymalloc-c", "--target", TARGET], CARGO_TARGET_DIR=BUILD, RUSTFLAGS=" ".join(flags))


def python_tests(runs, tests):
    program = [LOADER, "--library-path", ":".join(FOLDERS), os.path.join(ROOT, "usr/bin/python3.9")]
    version = subprocess.run([*program, "-V"], stdout=subprocess.PIPE, text=True, check=True).stdout.split()[-1]
    runs.run("CPython's tests", [*program, "-m", "test", *tests], of_regrtest, version=version, LD_PRELOAD=library("libpymalloc.so"), PYTHONMALLOC="malloc")


def test(runs, short):
    variables = {
        "PYMALLOC_TEST_PLATFORM": NAME,
        "PYMALLOC_TEST_ROOT": ROOT,
        "PYMALLOC_LIBRARY": library("libpymalloc.so"),
        "PYMALLOC_STATIC_LIBRARY": library("libpymalloc.a"),
    }
    filters = SHORT if short else []
    runs.run("C programs", ["cargo", "test", "--quiet", "--no-fail-fast", "--test", "c_tests", "--", *filters], of_cargo, **variables)
    python_tests(runs, PYTHON if short else PYTHON_LONG)
