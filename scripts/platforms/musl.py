"""musl on this machine's processor, as on Alpine: preloaded, in static programs, and in a static Rust program.

The shared library is the one that `make` builds against the GNU C library: it serves programs on either. What is linked statically is built for
musl.
"""

import os
import re
import shutil
import subprocess

from runs import Rust, command, folder, install_packages, lacking, of_cargo, without_paths

NAME = "musl"
TARGET = "x86_64-unknown-linux-musl"
BUILD = folder(NAME, "build")
SHARED = os.path.join(os.environ.get("CARGO_TARGET_DIR", "target"), "release", "libpymalloc.so")

PROGRAMS = {"musl-gcc": "musl-tools"}
# Debian has no Rust for musl, but its sources.
RUST = {"/usr/bin/rustc": "rustc-web", "/usr/bin/cargo": "cargo-web", "/usr/lib/rustlib/src/rust/library/std": "rust-web-src"}

# Tests in C of the short list.
SHORT_PRELOADED = ["standards::preloaded", "inspect::preloaded", "stress_seed_2", "fork_threads::preloaded", "fork_of_a_thread_that_holds_its_heap::preloaded", "short_threads::preloaded", "destructors_of_keys::preloaded",
                   "first_blocks_in_the_last_destructors::preloaded", "settings::a_warning", "pages_dropped::preloaded", "misuse::canonical::preloaded"]
# Programs that ask the dynamic linker for the C library's functions in whose place they have their own.
ASK_THE_LINKER = ["--skip", "fork_of_a_thread", "--skip", "interposed"]
SHORT_STATIC = ["standards::with_static", "stress_seed_3", "fork_threads::with_static", "promise_of_two_threads::with_static", "statistics_are_exact::with_static"]


def install():
    os.makedirs(folder(NAME), exist_ok=True)
    rust = Rust(TARGET)
    install_packages(lacking({**PROGRAMS, **(RUST if rust.is_debians else {})}))


def c_library():
    # Its loader names itself.
    told = subprocess.run(["/lib/ld-musl-x86_64.so.1"], stderr=subprocess.PIPE, text=True).stderr
    return "musl " + re.search(r"^Version (\S+)", told, re.MULTILINE).group(1)


def cargo(rust, arguments, more_flags=()):
    """Cargo for musl. Where Rust's own libraries for it are missing they are built, once for all that is built here."""
    variables = {"CARGO_TARGET_DIR": BUILD, "CARGO_TARGET_X86_64_UNKNOWN_LINUX_MUSL_LINKER": "musl-gcc"}
    flags = ["-Cllvm-args=--inline-threshold=60", "-Cllvm-args=--align-loops=1", *without_paths()]
    if rust.is_debians:
        # Its compiler builds its own libraries as nobody else's may: with what is not stable in them. musl's start files are musl-gcc's.
        flags += ["-Clink-self-contained=no", f"-Lnative={unwinder()}"]
        arguments = [arguments[0], "-Zbuild-std=std,panic_abort", "-Zbuild-std-features=", *arguments[1:]]
        variables["RUSTC_BOOTSTRAP"] = "1"
    variables["CARGO_TARGET_X86_64_UNKNOWN_LINUX_MUSL_RUSTFLAGS"] = " ".join(flags)
    command([rust.cargo, *arguments, "--target", TARGET, *more_flags], **rust.environment(**variables))


# The last compiler's, since musl-gcc knows no static program that can lie anywhere.
STATIC = ["--", "-Crelocation-model=static"]

# GCC's asks the GNU C library for a quick way to what it looks for; without an answer it takes the one that musl has.
NOT_FOUND = "int _dl_find_object(void *address, void *found) { (void)address; (void)found; return -1; }\n"


def unwinder():
    """A folder with what Rust's own libraries unwind by, under the name that they ask for: GCC's."""
    place = folder(NAME, "lib")
    os.makedirs(place, exist_ok=True)
    source, compiled, whole = (os.path.join(place, name) for name in ("not_found.c", "not_found.o", "libunwind.a"))
    if not os.path.exists(whole):
        with open(source, "w", encoding="utf-8") as file:
            file.write(NOT_FOUND)
        found = subprocess.run(["gcc", "-print-file-name=libgcc_eh.a"], stdout=subprocess.PIPE, text=True, check=True).stdout.strip()
        command(["musl-gcc", "-c", "-o", compiled, source])
        shutil.copy(found, whole + ".part")
        command(["ar", "r", whole + ".part", compiled])
        os.rename(whole + ".part", whole)
    return place


def library(name):
    return os.path.join(BUILD, TARGET, "release", name)


def build():
    command(["make", "--no-print-directory", "all"])
    rust = Rust(TARGET)
    cargo(rust, ["rustc", "--quiet", "--release", "--package", "pymalloc-c", "--lib", "--crate-type", "staticlib"])


def tool():
    """pymalloc-watch as a static program, which runs beside any C library."""
    cargo(Rust(TARGET), ["rustc", "--quiet", "--release", "--package", "pymalloc-watch", "--bin", "pymalloc-watch"], STATIC)
    print(library("pymalloc-watch"))


def c_tests(runs, what, filters):
    variables = {"PYMALLOC_TEST_PLATFORM": NAME, "PYMALLOC_LIBRARY": SHARED, "PYMALLOC_STATIC_LIBRARY": library("libpymalloc.a")}
    runs.run(what, ["cargo", "test", "--quiet", "--no-fail-fast", "--test", "c_tests", "--", *filters], of_cargo, **variables)


# The example of a global allocator as a program of its own: in the library's package all that its tests need would be built too.
MANIFEST = f"""[package]
name = "global_allocator"
edition = "2024"

[[bin]]
name = "global_allocator"
path = "{os.path.abspath("examples/global_allocator.rs")}"

[dependencies]
pymalloc = {{ path = "{os.path.abspath(".")}" }}

# As the library's own, so that Rust's libraries are built once for both.
[profile.release]
opt-level = 2
lto = "fat"
codegen-units = 1
panic = "abort"

[workspace]
"""


def rust_program(runs):
    """A static Rust program with the library as its global allocator."""
    place = folder(NAME, "program")
    os.makedirs(place, exist_ok=True)
    with open(os.path.join(place, "Cargo.toml"), "w", encoding="utf-8") as file:
        file.write(MANIFEST)
    shutil.copy("Cargo.lock", place)
    cargo(Rust(TARGET), ["rustc", "--quiet", "--release", "--manifest-path", os.path.join(place, "Cargo.toml")], STATIC)
    program = os.path.join(BUILD, TARGET, "release", "global_allocator")
    segments = subprocess.run(["readelf", "-lW", program], stdout=subprocess.PIPE, text=True, check=True).stdout
    is_static = "INTERP" not in segments

    def counted(printed):
        # The second number is with 100 MiB in use, the third without.
        figures = [int(number) for number in re.findall(r"(\d+) MiB$", printed, re.MULTILINE)]
        ok = len(figures) == 3 and figures[1] > figures[0] + 90 and figures[2] < figures[0] + 16 and is_static
        return int(ok), int(not ok)

    runs.run("a static Rust program", [program], counted)


def test(runs, short):
    c_tests(runs, "C programs, preloaded", SHORT_PRELOADED if short else ["preloaded", "settings", "ends::the_library"])
    c_tests(runs, "C programs, static", SHORT_STATIC if short else ["static", *ASK_THE_LINKER])
    rust_program(runs)
