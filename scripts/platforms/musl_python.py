"""CPython on musl: built with musl-gcc from Debian's source package, and its own tests with the shared library preloaded.

What it owns: target/platforms/musl_python. What must hold: nothing of the GNU C library gets into it, so that modules that need another library are left out.
"""

import glob
import os
import re
import shutil
import subprocess
import time

import musl
from runs import Failed, command, folder, install_packages, lacking

NAME = "musl_python"
PLACE = folder(NAME)
SOURCE_PACKAGE = "python3.11/bookworm"
SOURCES = "/etc/apt/sources.list.d/debian.sources"
PROGRAMS = {"dpkg-source": "dpkg-dev", "make": "make"}
# They need a library that Debian has for the GNU C library alone.
WITHOUT = """_bz2 _crypt _ctypes _ctypes_test _curses _curses_panel _dbm _gdbm _hashlib _lzma _sqlite3 _ssl _tkinter _uuid nis ossaudiodev readline zlib""".split()
# Tests in which memory, threads or processes are what matters, of modules that are there.
TESTS = """test_dict test_list test_set test_gc test_unicode test_bytes test_json test_decimal test_pickle test_mmap test_array test_memoryview test_weakref
    test_generators test_descr test_struct test_re test_thread test_fork1 test_subprocess""".split()


def install():
    musl.install()
    install_packages(lacking(PROGRAMS))


def c_library():
    return musl.c_library()


def fetch():
    """The source, unpacked; its folder."""
    found = glob.glob(os.path.join(PLACE, "Python-*"))
    if found:
        return found[0]
    if not os.path.exists(SOURCES):
        raise Failed(f"no {SOURCES}: the source is taken from Debian 12")
    os.makedirs(os.path.join(PLACE, "lists", "partial"), exist_ok=True)
    with open(SOURCES, encoding="utf-8") as file:
        text = re.sub(r"^Types:.*$", "Types: deb-src", file.read(), flags=re.MULTILINE)
    with open(os.path.join(PLACE, "source.sources"), "w", encoding="utf-8") as file:
        file.write(text)
    options = ["-qq", "-o", f"Dir::Etc::SourceList={PLACE}/source.sources", "-o", "Dir::Etc::SourceParts=/dev/null", "-o", f"Dir::State::Lists={PLACE}/lists",
               "-o", "APT::Sandbox::User=root"]
    command(["apt-get", *options, "update"])
    if subprocess.run(["apt-get", *options, "--download-only", "source", SOURCE_PACKAGE], cwd=PLACE).returncode:
        raise Failed(f"apt-get has no source of {SOURCE_PACKAGE}")
    archive = glob.glob(os.path.join(PLACE, "*.orig.tar.*"))[0]
    command(["tar", "-C", PLACE, "-xf", archive])
    return glob.glob(os.path.join(PLACE, "Python-*"))[0]


def compiler():
    """musl-gcc, with the kernel's headers, which musl has none of; asked for what it compiles for, it would say what the GNU C library's does."""
    place = os.path.join(PLACE, "headers")
    os.makedirs(place, exist_ok=True)
    for name, found in (("linux", "/usr/include/linux"), ("asm-generic", "/usr/include/asm-generic"), ("asm", "/usr/include/x86_64-linux-gnu/asm")):
        if not os.path.lexists(os.path.join(place, name)):
            os.symlink(found, os.path.join(place, name))
    path = os.path.join(PLACE, "cc")
    with open(path, "w", encoding="utf-8") as file:
        file.write(f'#!/bin/sh\ncase $1 in *-print-multiarch) exec echo x86_64-linux-musl ;; esac\nexec musl-gcc "$@" -idirafter {place}\n')
    os.chmod(path, 0o755)
    return path


def build():
    command(["make", "--no-print-directory", "all"])
    build_python()


def build_python():
    """The program; minutes the first time."""
    source = fetch()
    program = os.path.join(source, "python")
    if os.path.exists(os.path.join(PLACE, "complete")):
        return program
    with open(os.path.join(source, "Modules", "Setup.local"), "w", encoding="utf-8") as file:
        # By itself it would take zlib.
        file.write("binascii -DPy_BUILD_CORE_MODULE binascii.c\n*disabled*\n" + "\n".join(WITHOUT) + "\n")
    environment = {"CC": compiler(), "LD_PRELOAD": ""}
    with open(os.path.join(PLACE, "build.log"), "w", encoding="utf-8") as log:
        for arguments in (["./configure", "--build=x86_64-pc-linux-musl", "--without-ensurepip", "--disable-test-modules", "OPT=-DNDEBUG -O1"], ["make", f"-j{os.cpu_count()}", "all"]):
            if subprocess.run(arguments, cwd=source, env={**os.environ, **environment}, stdout=log, stderr=log).returncode:
                raise Failed(f"CPython does not build on musl ({log.name})")
    needed = subprocess.run(["readelf", "-dW", program], stdout=subprocess.PIPE, text=True, check=True).stdout
    if re.search(r"NEEDED.*libc\.so\.6", needed):
        raise Failed("CPython was linked with the GNU C library")
    shutil.rmtree(os.path.join(PLACE, "lists"), ignore_errors=True)
    with open(os.path.join(PLACE, "complete"), "w", encoding="utf-8"):
        pass
    return program


def passes(program, name, **environment):
    """Whether one of CPython's tests passes."""
    ran = subprocess.run([program, "-m", "test", name], env={**os.environ, "PYTHONMALLOC": "malloc", **environment}, cwd=PLACE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if ran.returncode and environment:
        print(ran.stdout[-3000:])
    return ran.returncode == 0


def test(runs, short):
    """Those that pass on musl's own malloc must pass on the library too. The others need what musl does not have, or one of the modules that are left out."""
    program = build_python()
    version = subprocess.run([program, "-V"], stdout=subprocess.PIPE, text=True, check=True).stdout.split()[-1]
    start = time.monotonic()
    tests = [name for name in TESTS if passes(program, name)]
    print("fail on musl's own malloc:", *(name for name in TESTS if name not in tests), flush=True)
    failed = [name for name in tests if not passes(program, name, LD_PRELOAD=musl.SHARED)]
    if failed:
        print("fail on the library:", *failed, flush=True)
    runs.record("CPython's tests", version, 4096, len(tests) - len(failed), len(failed), time.monotonic() - start)
