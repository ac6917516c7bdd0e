"""musl on this machine's processor, as on Alpine: preloaded, in static programs, in a static Rust program, and in programs that others have built.

The shared library is the one that `make` builds against the GNU C library: it serves programs on either. What is linked statically is built for
musl.
"""

import os
import re
import shutil
import subprocess

import musl_programs
from musl_rust import STATIC, Musl
from runs import command, folder, of_cargo

NAME = "musl"
MUSL = Musl("x86_64")
SHARED = os.path.abspath(os.path.join(os.environ.get("CARGO_TARGET_DIR", "target"), "release", "libpymalloc.so"))
# Debian's own, which programs of musl-gcc name.
LOADER = "/lib/ld-musl-x86_64.so.1"

PROGRAMS = {"musl-gcc": "musl-tools", **musl_programs.PROGRAMS}

# Tests in C of the short list.
SHORT_PRELOADED = ["standards::preloaded", "inspect::preloaded", "stress_seed_2", "fork_threads::preloaded", "fork_of_a_thread_that_holds_its_heap::preloaded", "short_threads::preloaded", "destructors_of_keys::preloaded",
                   "first_blocks_in_the_last_destructors::preloaded", "settings::a_warning", "pages_dropped::preloaded", "misuse::canonical::preloaded"]
# Programs that ask the dynamic linker for the C library's functions in whose place they have their own.
ASK_THE_LINKER = ["--skip", "fork_of_a_thread", "--skip", "interposed"]
SHORT_STATIC = ["standards::with_static", "stress_seed_3", "fork_threads::with_static", "promise_of_two_threads::with_static", "statistics_are_exact::with_static"]


def install():
    MUSL.install(PROGRAMS)


def c_library():
    return MUSL.version(LOADER)


def build():
    command(["make", "--no-print-directory", "all"])
    MUSL.static_library()


def c_tests(runs, what, filters):
    variables = {"PYMALLOC_TEST_PLATFORM": NAME, "PYMALLOC_LIBRARY": SHARED, "PYMALLOC_STATIC_LIBRARY": MUSL.library("libpymalloc.a")}
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
    MUSL.cargo(["rustc", "--quiet", "--release", "--manifest-path", os.path.join(place, "Cargo.toml")], STATIC)
    program = MUSL.library("global_allocator")
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
    if not short:
        musl_programs.test(runs, MUSL, SHARED)
