"""What follows from the facts of a process: each finding in a line, and in another what mends it.

Owns: the rules. A rule is a generator of findings about one process, or about the machine. What must hold: a finding of the level "problem" keeps the
library, or Python's objects, from where they should be; "warning" is what may fail or give less memory back; "note" is what is good to know.
"""

import json
import mmap
import subprocess
from typing import NamedTuple

import environment as variables
import facts
import programs

# A Python whose objects come from the library has so many blocks of up to SMALL bytes, and so many times more of them than of larger ones: CPython 3.8 to
# 3.13 start with 8,000 to 36,000 of them, 27 times the others and more; without its objects there are 1,100 at most, 2.5 times.
SMALL, OBJECTS, TIMES = 512, 4000, 8
# Seconds that `pymalloc-watch` is given for one look.
LOOK = 20
# The oldest Linux with MADV_FREE.
LINUX = (4, 5)
# Above this system page size only whole arenas go back.
PAGE = 1 << 14
# Threads and arenas take addresses: a limit below this many times what is resident is soon reached, and one below the other number in any case.
ADDRESSES_TIMES, ADDRESSES = 2, 1 << 30
# A limit of memory of which so large a part is used.
FULL = 0.9
# A limit below which the budget of the library is a large part of it.
TIGHT = 128 << 20
# Bytes of locked memory that are too many to be a key or a buffer.
LOCKED = 16 << 20
# What libraries that bring an allocator inside have in them, and the line that makes their users take malloc.
INSIDE = {
    b"<jemalloc>: ": "jemalloc",
    b"mimalloc: ": "mimalloc",
    b"tcmalloc: ": "tcmalloc",
}
# Lines that mend several things.
GNU = "use an image with the GNU C library or musl, such as python:3.13-slim"
WHEEL = "take the wheel, whose library is for the GNU C library 2.17 and newer, and for musl: pip install pymalloc"
ARROW = "set ARROW_DEFAULT_MEMORY_POOL=system"


class Finding(NamedTuple):
    level: str
    name: str
    text: str
    mend: str = ""


def problem(name, text, mend):
    return Finding("problem", name, text, mend)


def warning(name, text, mend):
    return Finding("warning", name, text, mend)


def note(name, text, mend=""):
    return Finding("note", name, text, mend)


def mebibytes(count):
    return f"{count / (1 << 20):,.0f} MiB"


class Examined:
    """A process, what the library in it tells, and what was found."""

    def __init__(self, process, home, asked=None):
        self.process = process
        # The program that was asked about, where this is one below it.
        self.asked = asked
        self.path, self.version = process.library
        self.python = process.python()
        self.figures = figures(process.pid, home) if self.path else None
        self.findings = [finding for rule in RULES for finding in rule(self)]

    def objects(self):
        """Whether Python's objects come from the library: counted where that can be, or else what its variables say; None for other programs
        and where neither is known."""
        if self.python is None or not self.path:
            return None if self.python is None else False
        if self.figures:
            counts = [0, 0]
            for entry in self.figures["classes"]:
                counts[entry["size"] > SMALL] += entry["in_use"]
            return counts[0] >= max(OBJECTS, TIMES * counts[1])
        if self.process.environment is None:
            return None
        return not any(elsewhere(self))


def figures(pid, home):
    """What `pymalloc-watch` sees of a process; None where it is not there, or may not look."""
    try:
        done = subprocess.run([home.watch, "--json", str(pid)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=LOOK)
        return json.loads(done.stdout) if done.returncode == 0 else None
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return None


# --- Whether it is loaded


def is_loaded(seen):
    """The library, and whether it is the one that is installed."""
    if not seen.path:
        finding = next(why_not_loaded(seen.process))
        is_helper = seen.asked not in (None, seen.process.exe) and seen.python is None
        yield finding._replace(level="warning") if is_helper else finding
        return
    serves = f"{mebibytes(seen.figures['bytes_in_use'])} in use" if seen.figures else "its figures cannot be read"
    yield note("loaded", f"pymalloc {seen.version} is loaded: {seen.path}; {serves}")
    if seen.path != seen.process.exe and seen.process.was_replaced(seen.path):
        yield warning("replaced", f"{seen.path} is another file by now", "restart the program, so that it has the new one")


def why_not_loaded(process):
    """The first of these findings is the reason."""
    asked = (process.environment or {}).get("LD_PRELOAD", "")
    named = [path for path in variables.preloaded(asked) if variables.is_ours(path)]
    program = process.program
    if variables.is_off(process.environment or {}):
        yield problem("off", "it is off: PYMALLOC_CONF says so", "take `off` out of PYMALLOC_CONF")
    if program and not program.linker and not process.exe.rpartition("/")[2].startswith("ld-"):
        yield problem("static", "the program is statically linked, and such programs ignore LD_PRELOAD", "link it with libpymalloc.a")
    if process.is_privileged():
        how = process.privileges_of_its_file() or "started with more rights than its user has"
        mend = "give the rights to its service (systemd: AmbientCapabilities=), and take them from the file: setcap -r, chmod u-s"
        yield problem("privileged", f"the program is {how}, and Linux ignores LD_PRELOAD for such programs", mend)
    for path in named:
        yield from why_not_loadable(process, path)
    if not named:
        how = "LD_PRELOAD does not name it" if process.environment is not None else "it is not known what LD_PRELOAD was"
        yield problem("not-loaded", f"pymalloc is not loaded: {how}", "start it with `pymalloc run -- COMMAND`, or Python by `python -m pymalloc app.py`")
    yield problem("not-loaded", "pymalloc is not loaded, though LD_PRELOAD names it", "look at what the dynamic linker says on stderr when it starts")


def why_not_loadable(process, path):
    """Why a file that LD_PRELOAD names was not loaded."""
    if "/" not in path:
        text = f"LD_PRELOAD names {path} without a folder, and the dynamic linker does not find it in its own"
        yield problem("no-folder", text, "give it the whole path, as `pymalloc run --print` shows it")
        return
    try:
        with facts.open_plain(process.in_its_root(path)) as file:
            elf = programs.read_elf(file)
            file.seek(0)
            needed = facts.newest_symbols(file)
    except FileNotFoundError:
        yield problem("no-file", f"LD_PRELOAD names {path}, which is not there", "give it the path that `pymalloc run --print` shows")
        return
    except (OSError, programs.Refusal) as error:
        yield problem("no-file", f"LD_PRELOAD names {path}, which cannot be read: {getattr(error, 'strerror', error)}", f"chmod a+r {path}")
        return
    if not elf or process.program and elf.kind != process.program.kind:
        machine = process.program.machine() if process.program else "another machine"
        yield problem("other-machine", f"{path} is for another machine than the program", f"give it the library for {machine}")
        return
    there = process.c_library()
    if needed and there and needed > there:
        text = "{} needs GLIBC_{}.{}, and the program's C library has GLIBC_{}.{} at most".format(path, *needed, *there)
        yield problem("not-loadable", text, WHEEL)


# --- Whether it serves


def is_in_front(seen):
    """What else brings a malloc."""
    if not seen.path:
        return
    if seen.path != seen.process.exe and seen.process.defines("malloc"):
        yield problem("own-malloc", "the program has a malloc of its own, and that serves", "build it without (often an option such as MALLOC=libc)")
    names = variables.preloaded((seen.process.environment or {}).get("LD_PRELOAD", ""))
    for path in names:
        if variables.is_ours(path):
            break
        if variables.ALLOCATORS.search(path.rpartition("/")[2]):
            yield problem("other-preload", f"LD_PRELOAD names {path} first, whose malloc serves", "take it out of LD_PRELOAD")


def has_one_inside(seen):
    """Libraries that bring an allocator under other names: what they allocate by that does not come here."""
    if not seen.path:
        return
    for path, known in seen.process.files_with(INSIDE):
        name = path.rpartition("/")[2]
        # Python has mimalloc inside from 3.13 on, and takes objects from there only if PYTHONMALLOC says so.
        if path == seen.path or variables.ALLOCATORS.search(name) or programs.PYTHON.fullmatch(name) or name.startswith("libpython"):
            continue
        mend = ARROW if "arrow" in name else ""
        yield note("allocator-inside", f"{path} has {INSIDE[known]} inside: what it takes from there does not come from pymalloc", mend)


# --- Python's objects


def elsewhere(seen):
    """Why Python's objects do not come from malloc, as far as its version, options and variables say."""
    process, given = seen.process, seen.process.environment
    if seen.python.endswith("t"):
        yield "a free-threaded Python never takes them from malloc", f"use the other build of it: python{seen.python[:-1]}"
    option = programs.ignores_variables(process.exe, process.words[1:])
    if option:
        yield f"Python's option {option} ignores PYTHONMALLOC", f"start Python without {option}"
    if given is not None and given.get("PYTHONMALLOC") not in variables.ON_MALLOC:
        value = given.get("PYTHONMALLOC")
        yield f"PYTHONMALLOC is {value if value else 'not set'}", "set PYTHONMALLOC=malloc, or start it with `pymalloc run`"


def has_objects(seen):
    if seen.python is None or not seen.path:
        return
    objects = seen.objects()
    if objects:
        yield note("objects", "Python's objects come from it")
    elif objects is None:
        yield warning("objects-unknown", "it cannot be told whether Python's objects come from it", "run this as root, or as the user of the process")
    else:
        reason, mend = next(elsewhere(seen), ("the figures say so", "set PYTHONMALLOC=malloc in the environment that Python is started in"))
        yield problem("objects-elsewhere", f"Python's objects do not come from it: {reason}", mend)


# --- What surrounds the process


def needs_deepbind(seen):
    name = seen.process.exe.rpartition("/")[2]
    if seen.path and programs.DEEPBIND.fullmatch(name) and not any("pymalloc-deepbind" in path for path in seen.process.maps):
        mend = "start it with `pymalloc run`, which puts libpymalloc-deepbind.so in front"
        yield problem("deepbind", "it opens plugins with RTLD_DEEPBIND, which free with the C library", mend)


def is_filtered(seen):
    if seen.path and seen.process.status.get("Seccomp", "").strip() == "2":
        mend = "let it know mmap, munmap, mremap, madvise, mincore and futex, and write for messages"
        yield note("seccomp", "a filter of system calls is set", mend)


def has_addresses(seen):
    limit = seen.process.limit_of_addresses() if seen.path else None
    if limit is None:
        return
    resident = int(seen.process.status.get("VmRSS", "0").split()[0]) << 10
    worth = warning if limit < max(ADDRESSES, ADDRESSES_TIMES * resident) else note
    mend = "ulimit -v unlimited (systemd: LimitAS=infinity), and limit memory by a cgroup"
    yield worth("ulimit-v", f"ulimit -v is {mebibytes(limit)}: addresses count, also those without memory", mend)


def has_memory(seen):
    limit, path = seen.process.memory_limit() if seen.path else (None, None)
    if limit is None:
        return
    used = facts.number_in(path.replace("memory.max", "memory.current").replace("limit_in_bytes", "usage_in_bytes")) or 0
    text = f"its cgroup may have {mebibytes(limit)} and has {mebibytes(used)}"
    if used > FULL * limit:
        yield warning("cgroup-full", text, f"give it more ({path}), or see what it holds: pymalloc watch {seen.process.pid}")
    elif limit < TIGHT:
        yield note("cgroup-tight", text, "let it keep less: PYMALLOC_CONF=resident_budget=1m,mapping_cache=1m,retain=0")
    else:
        yield note("cgroup", text)


def is_locked(seen):
    locked = int(seen.process.status.get("VmLck", "0").split()[0]) << 10 if seen.path else 0
    if locked > LOCKED:
        yield warning("locked", f"{mebibytes(locked)} are locked, and locked memory cannot be given back", "do without mlockall, where that can be")


RULES = (is_loaded, is_in_front, has_one_inside, has_objects, needs_deepbind, is_filtered, has_addresses, has_memory, is_locked)


# --- The machine


def of_machine():
    """What is the same for all its processes."""
    if facts.kernel() < LINUX:
        old = ".".join(map(str, facts.kernel()))
        yield warning("old-kernel", f"Linux {old} has no MADV_FREE: what is retained stays resident for longer", "use Linux 4.5 or newer, or set retain=0")
    if mmap.PAGESIZE > PAGE:
        size = f"{mmap.PAGESIZE >> 10} KiB"
        yield warning("large-pages", f"the system's pages have {size}: only whole arenas are given back", "use a kernel with pages of 4 or 16 KiB")
    if facts.huge_pages() == "always":
        mend = "echo madvise > /sys/kernel/mm/transparent_hugepage/enabled"
        yield note("huge-pages", "huge pages are always on: a large block is resident sooner than it is written to", mend)


def of_refusal(refusal):
    """Why nothing can be started on the library here."""
    text, way = str(refusal), WHEEL
    before, _, last = text.rpartition(": ")
    if last.startswith(("run ", "take ", "install ", "link ")):
        text, way = before, last
    elif "a space or a colon" in text:
        way = "install pymalloc into a folder whose path has neither"
    elif "another C library" in text:
        way = GNU
    return problem("cannot-start", text, way)


def of_unreadable(pid, unreadable):
    if unreadable.gone:
        return problem("gone", f"there is no process {pid}", "give the number of a running one, as pgrep shows it")
    scope = facts.ptrace_scope()
    container = "in a container with --cap-add SYS_PTRACE, in a pod with shareProcessNamespace and SYS_PTRACE"
    mend = f"run it as root or as the user of the process ({container})"
    return problem("unreadable", f"process {pid} may not be looked at{f' (ptrace_scope {scope})' if scope not in ('', '0') else ''}", mend)
