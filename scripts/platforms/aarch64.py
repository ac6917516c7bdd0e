"""AArch64 with the GNU C library: cross-compiled, and run by qemu's emulation of a process.

The emulator runs a program on this machine's kernel, so that system calls, threads and pages are real; with `-p` it tells the program of larger
pages. What it lacks is in `tests/common/platform.rs`.
"""

import os
import re
import subprocess

from runs import Failed, Rust, command, folder, install_packages, lacking, of_cargo, unpack

NAME = "aarch64"
TARGET = "aarch64-unknown-linux-gnu"
ROOT = folder(NAME, "root")
BUILD = folder(NAME, "build")
SOURCES = "/etc/apt/sources.list.d/debian.sources"
EMULATOR = "qemu-aarch64-static"

PROGRAMS = {
    EMULATOR: "qemu-user-static",
    "aarch64-linux-gnu-gcc": "gcc-aarch64-linux-gnu",
    "aarch64-linux-gnu-g++": "g++-aarch64-linux-gnu",
    "mmdebstrap": "mmdebstrap",
}
RUST = {"/usr/bin/rustc": "rustc-web", "/usr/bin/cargo": "cargo-web"}
# What is in the root: the C and C++ libraries and a CPython with its tests.
PACKAGES = ["libc6", "libgcc-s1", "libstdc++6", "python3.11", "libpython3.11-testsuite"]
# Of Debian's Rust only the libraries for programs; what the compiler itself needs is large and left out of the root again.
RUST_PACKAGES = ["libstd-rust-web-dev"]
UNUSED = ["libLLVM*", "librustc_driver-*", "libz3.so*", "libicudata.so*"]

# Tests of CPython in which memory is what matters, or threads and processes are.
PYTHON_CORE = """test_dict test_list test_set test_gc test_unicode test_bytes test_json test_decimal test_ctypes test_sqlite test_pickle
    test_mmap test_array test_memoryview test_weakref test_generators test_descr test_zlib test_struct test_re""".split()
# Cases that start another process of the program, which only the kernel can, and it does not know of the emulator.
PYTHON_STARTS = ["test_check_encoding_errors", "*.TestTool.*", "*shutdown*", "test_function_tp_clear*", "test_ast_fini", "test_global_del*", "test_atexit",
                 "*.test_cli.*"]
PYTHON_SHORT = ["test_dict", "test_set"]

# Tests in C of the short list, on each size of pages.
SHORT = {
    4096: ["standards::preloaded", "inspect::preloaded", "own_names::linked", "stress_seed_2", "misuse::canonical::preloaded", "pages_and_other_threads::preloaded",
           "statistics_are_exact::with_static", "producer_and_consumer::linked", "fork_threads::preloaded"],
    16384: ["inspect::preloaded", "pages_and_other_threads::preloaded", "promise_of_one_thread::preloaded", "returned_when_shrunk"],
    65536: ["standards::preloaded", "stress_seed_2", "returned_though_zeroed", "returned_from_a_busy_thread"],
}
# Of the long list, what depends on the size of pages.
PAGED = ["standards", "inspect", "stress", "pages_", "promise", "returned", "mappings", "misuse", "statistics", "fork_"]


def install():
    os.makedirs(folder(NAME), exist_ok=True)
    rust = Rust(TARGET)
    install_packages(lacking({**PROGRAMS, **(RUST if rust.is_debians else {})}))
    if not os.path.exists(SOURCES):
        raise Failed(f"no {SOURCES}: what AArch64's programs need is unpacked from the packages of Debian 12")
    unpack(ROOT, "bookworm", PACKAGES + (RUST_PACKAGES if rust.is_debians else []), ["--architectures=arm64"], unused=UNUSED, sources=[SOURCES])


def c_library():
    with open(os.path.join(ROOT, "lib", "aarch64-linux-gnu", "libc.so.6"), "rb") as file:
        return "glibc " + re.search(rb"GNU C Library .* version ([0-9.]+)\.", file.read()).group(1).decode()


def environment():
    rust = Rust(TARGET)
    # As .cargo/config.toml, which these replace.
    flags = ["-Cllvm-args=--inline-threshold=60", "-Cllvm-args=--align-loops=1"]
    if rust.is_debians:
        flags.append(f"--sysroot={ROOT}/usr")
    return rust, rust.environment(
        CARGO_TARGET_DIR=BUILD,
        CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER="aarch64-linux-gnu-gcc",
        CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER=f"{EMULATOR} -L {ROOT}",
        CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUSTFLAGS=" ".join(flags),
    )


def library(name):
    return os.path.join(BUILD, TARGET, "release", name)


def build():
    rust, variables = environment()
    command([rust.cargo, "rustc", "--quiet", "--release", "--package", "pymalloc-c", "--lib", "--target", TARGET, "--", f"-Lnative={c_library_alone()}"], **variables)
    strip = os.path.join(folder(NAME), "libpymalloc.so")
    command(["aarch64-linux-gnu-strip", "-o", strip, library("libpymalloc.so")])
    print(f"{strip}: {os.path.getsize(strip)} bytes", flush=True)


def c_library_alone():
    """A folder with the C library under the name that a linker looks for, and no more. That of the package leads to the loader too, which the library would
    then name as one that it needs, since Rust's own functions check the stack; and musl has no loader of that name."""
    place = folder(NAME, "lib")
    os.makedirs(place, exist_ok=True)
    link = os.path.join(place, "libc.so")
    if not os.path.lexists(link):
        os.symlink(f"{ROOT}/lib/aarch64-linux-gnu/libc.so.6", link)
    return place


def c_tests(runs, page, filters):
    variables = {
        "PYMALLOC_TEST_PLATFORM": NAME,
        "PYMALLOC_TEST_ROOT": ROOT,
        "PYMALLOC_TEST_PAGE": str(page),
        "PYMALLOC_LIBRARY": library("libpymalloc.so"),
        "PYMALLOC_STATIC_LIBRARY": library("libpymalloc.a"),
    }
    # One at a time on each processor: the emulator has work for each of a test's threads.
    arguments = ["cargo", "test", "--quiet", "--no-fail-fast", "--test", "c_tests", "--", *filters]
    runs.run("C programs", arguments, of_cargo, page=page, **variables)


def rust_tests(runs):
    """The library's own tests, and the reference model."""
    rust, variables = environment()
    arguments = [rust.cargo, "test", "--quiet", "--no-fail-fast", "--target", TARGET, "--lib", "--test", "model", "--", "--test-threads=2"]
    runs.run("unit tests and reference model", arguments, of_cargo, **variables)


def python_tests(runs, page, tests):
    version = subprocess.run([f"{EMULATOR}", "-L", ROOT, f"{ROOT}/usr/bin/python3.11", "-V"], stdout=subprocess.PIPE, text=True)
    arguments = [EMULATOR, "-p", str(page), "-L", ROOT, "-E", f"LD_PRELOAD={library('libpymalloc.so')}", f"{ROOT}/usr/bin/python3.11"]

    ignored = [option for pattern in PYTHON_STARTS for option in ("--ignore", pattern)]
    runs.run("CPython's tests", [*arguments, "-m", "test", *ignored, *tests], of_regrtest, version=version.stdout.split()[-1], page=page, PYTHONMALLOC="malloc")


def of_regrtest(printed):
    """How many tests passed and failed, by what CPython's own runner prints."""
    counts = {"OK": 0, "failed": 0}
    for number, outcome in re.findall(r"^(\d+) tests? (OK|failed)", printed, re.MULTILINE):
        counts[outcome] += int(number)
    if "All " in printed:
        found = re.search(r"^All (\d+) tests OK", printed, re.MULTILINE)
        counts["OK"] = int(found.group(1)) if found else 0
    return counts["OK"], counts["failed"]


# Instructions of a malloc/free pair in the loops of benches/pairs.c, the way through the PLT and the loop's own included.
MOST_INSTRUCTIONS = {"lifo": 70, "fifo": 70}


def instructions(runs):
    program = os.path.join(folder(NAME), "pairs")
    command(["aarch64-linux-gnu-gcc", "-O2", "-fno-builtin", "-o", program, "benches/pairs.c", "-lpthread"])
    passed = failed = 0
    for loop, most in MOST_INSTRUCTIONS.items():
        counts = [executed(program, loop, pairs) for pairs in (4096, 8192)]
        each = (counts[1] - counts[0]) / 4096
        print(f"{loop}: {each:.1f} instructions a pair, at most {most}")
        passed, failed = (passed + 1, failed) if each <= most + 0.5 else (passed, failed + 1)
    runs.record("instructions of a pair", "", 4096, passed, failed, 0)


def executed(program, loop, pairs):
    """Instructions of a run: the emulator tells each, when it translates them one by one."""
    arguments = [EMULATOR, "-singlestep", "-d", "nochain,exec", "-D", "/dev/stdout", "-L", ROOT]
    arguments += ["-E", f"LD_PRELOAD={library('libpymalloc.so')}", program, loop, str(pairs)]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE) as process:
        return sum(line.startswith(b"Trace ") for line in process.stdout)


def test(runs, short):
    if short:
        for page, filters in SHORT.items():
            c_tests(runs, page, filters)
        python_tests(runs, 4096, PYTHON_SHORT)
        instructions(runs)
        return
    c_tests(runs, 4096, ["linked", "preloaded", "static", "settings", "snapshots::", "ends::"])
    for page in (16384, 65536):
        c_tests(runs, page, PAGED)
        python_tests(runs, page, PYTHON_SHORT)
    rust_tests(runs)
    python_tests(runs, 4096, PYTHON_CORE)
    instructions(runs)
