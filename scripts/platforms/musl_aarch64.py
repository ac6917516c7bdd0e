"""musl on AArch64, under qemu: the shared library of `aarch64`, which is built against the GNU C library, and what is linked statically.

Programs of musl that others have built are run too (musl_programs.py); CPython is not among them, as PyPI has none.
"""

import aarch64
import musl
import musl_programs
from musl_rust import Musl
from runs import of_cargo

NAME = "musl_aarch64"
MUSL = Musl("aarch64")

SHORT_PRELOADED = ["standards::preloaded", "inspect::preloaded", "stress_seed_2", "fork_threads::preloaded"]
SHORT_STATIC = ["standards::with_static", "stress_seed_3"]


def install():
    aarch64.install()
    MUSL.install({})


def c_library():
    return MUSL.version()


def build():
    aarch64.build()
    MUSL.static_library()


def c_tests(runs, what, filters):
    variables = {
        "PYMALLOC_TEST_PLATFORM": NAME,
        "PYMALLOC_TEST_ROOT": MUSL.root,
        "PYMALLOC_LIBRARY": aarch64.library("libpymalloc.so"),
        "PYMALLOC_STATIC_LIBRARY": MUSL.library("libpymalloc.a"),
        "CC_aarch64_unknown_linux_musl": MUSL.compiler,
    }
    runs.run(what, ["cargo", "test", "--quiet", "--no-fail-fast", "--test", "c_tests", "--", *filters], of_cargo, **variables)


def test(runs, short):
    c_tests(runs, "C programs, preloaded", SHORT_PRELOADED if short else ["preloaded", "settings"])
    c_tests(runs, "C programs, static", SHORT_STATIC if short else ["static", *musl.ASK_THE_LINKER])
    musl_programs.test(runs, MUSL, aarch64.library("libpymalloc.so"))
