"""What the system tells of a process, and of itself: read from /proc and /sys, judged nowhere.

Owns: the paths that are read, and their forms. What must hold: nothing is changed and nothing is run, least of all a file of the process, which
may be anybody's. Whatever cannot be read is None or empty. Only the files that say what is loaded must be readable: else it is `Unreadable`.
"""

import errno
import functools
import io
import os
import re
import stat
import struct

import programs

# The auxiliary vector's entry that is not 0 for a program with more rights than its user.
AT_SECURE = 23
# Bytes of the start of a loaded file: its headers and notes are in there.
HEAD = 1 << 16
# A file is read in pieces of so many bytes, and no more of them: a library that is larger has no allocator at its end.
PIECE, PIECES = 1 << 22, 256
# Limits that are none: cgroups write so large a number, or "max".
NO_LIMIT = 1 << 60
CGROUPS = "/sys/fs/cgroup"


class Unreadable(Exception):
    """The process is not there, or may not be looked at."""

    def __init__(self, pid, error):
        super().__init__(pid)
        self.gone = isinstance(error, (FileNotFoundError, ProcessLookupError))


def read(path):
    """The bytes of a file; None where it cannot be read."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return None


def text(path):
    return (read(path) or b"").decode("utf-8", "surrogateescape")


class Mapped:
    """A file that is mapped into a process."""

    def __init__(self, path, start):
        self.path = re.sub(r" \(deleted\)$", "", path)
        self.is_deleted = self.path != path
        self.start = start
        self.name = os.path.basename(self.path)


class Process:
    """A process, by its number. All is read when it is asked for, and once."""

    def __init__(self, pid):
        self.pid = pid
        try:
            with open(f"/proc/{pid}/maps", encoding="utf-8", errors="surrogateescape") as file:
                self.maps = mapped_files(file)
            self.exe = os.readlink(f"/proc/{pid}/exe")
            with open(f"/proc/{pid}/environ", "rb") as file:
                self.raw_environment = file.read()
        except OSError as error:
            raise Unreadable(pid, error) from None
        self.words = text(f"/proc/{pid}/cmdline").rstrip("\0").split("\0")
        self.status = dict(line.split(":\t", 1) for line in text(f"/proc/{pid}/status").splitlines() if ":\t" in line)

    @property
    def parent(self):
        return int(self.status.get("PPid", 0))

    @property
    def command(self):
        return " ".join(self.words) or self.status.get("Name", "?")

    @functools.cached_property
    def environment(self):
        """The variables that it was started with; None when it has written something else there, as some servers do with their titles."""
        entries = [entry for entry in os.fsdecode(self.raw_environment).split("\0") if entry]
        if not all(re.match(r"[^=\s]+=", entry, re.ASCII) for entry in entries):
            return None
        return dict(entry.split("=", 1) for entry in entries) if entries else None

    def in_its_root(self, path):
        """A path as the process sees it, from here."""
        return f"/proc/{self.pid}/root{path}" if os.path.isabs(path) else path

    @functools.cached_property
    def program(self):
        """What the ELF header of its program says; None where that cannot be read."""
        try:
            with open_plain(f"/proc/{self.pid}/exe") as file:
                return programs.read_elf(file)
        except (OSError, programs.Refusal):
            return None

    @functools.cached_property
    def library(self):
        """The file with pymalloc in it that is mapped first, and its version; (None, None) without. It may be the program itself."""
        if self.program and self.program.version:
            return self.exe, self.program.version
        for file in self.maps.values():
            if "pymalloc" in file.name and ".so" in file.name:
                version = self.version_of(file)
                if version:
                    return file.path, version
        return None, None

    def version_of(self, file):
        """The version in pymalloc's note of a mapped file: from the file if that is still there, or else from the memory of the process."""
        try:
            with self.open_mapped(file) as opened:
                return programs.read_elf(opened).version
        except (OSError, AttributeError, programs.Refusal):
            pass
        try:
            with open(f"/proc/{self.pid}/mem", "rb", buffering=0) as memory:
                memory.seek(file.start)
                head = io.BytesIO(memory.read(HEAD))
            head.name = file.path
            return programs.read_elf(head).version
        except (OSError, AttributeError, OverflowError, programs.Refusal):
            return None

    def open_mapped(self, file):
        """Opens a mapped file, if it is still by its path. It belongs to whoever is looked at: what is no plain file is not waited for."""
        if file.is_deleted:
            raise FileNotFoundError(file.path)
        return open_plain(self.in_its_root(file.path))

    def was_replaced(self, path):
        """Whether the file that the process has mapped by this path is no longer the one that lies there."""
        return any(file.is_deleted for file in self.maps.values() if file.path == path)

    def is_privileged(self):
        """Whether it was started with more rights than its user has, so that the dynamic linker ignores LD_PRELOAD."""
        vector = read(f"/proc/{self.pid}/auxv") or b""
        return any(key == AT_SECURE and value for key, value in struct.iter_unpack("=QQ", vector[: len(vector) // 16 * 16]))

    def privileges_of_its_file(self):
        """Why its file gives more rights than the user has, in words; "" if it is not known."""
        try:
            path = self.in_its_root(self.exe)
            mode = os.stat(path).st_mode
            if mode & (stat.S_ISUID | stat.S_ISGID):
                return "set-uid" if mode & stat.S_ISUID else "set-gid"
            return "given file capabilities" if os.getxattr(path, "security.capability") else ""
        except OSError:
            return ""

    def limit_of_addresses(self):
        """Bytes of `ulimit -v`; None without one."""
        found = re.search(r"^Max address space +(\d+)", text(f"/proc/{self.pid}/limits"), re.MULTILINE)
        return int(found[1]) if found else None

    def memory_limit(self):
        """Bytes that its cgroup may have, and the file that says so; (None, None) without a limit."""
        limits = [(number, path) for path in cgroup_files(text(f"/proc/{self.pid}/cgroup")) for number in [number_in(path)] if number is not None]
        return min(limits, default=(None, None))

    def python(self):
        """The version of CPython that it runs, as "3.13" or "3.13t"; "" for a Python of an unknown version, None for another program."""
        names = [os.path.basename(self.exe), *(file.name for file in self.maps.values() if file.name.startswith("libpython"))]
        if not any(programs.PYTHON.fullmatch(name) or name.startswith("libpython3") for name in names):
            return None
        paths = [self.exe, *(file.path for file in self.maps.values())]
        for pattern in (r"python(3\.\d+t?)", r"/python(3\.\d+t?)/", r"\.cpython-3(\d+t?)-"):
            for path in paths:
                found = re.search(pattern, path)
                if found:
                    return found[1] if "." in found[1] else "3." + found[1]
        return ""

    def defines(self, name):
        """Whether the program itself exports a function of this name."""
        try:
            with open_plain(f"/proc/{self.pid}/exe") as file:
                return programs.exports(file, name.encode())
        except (OSError, programs.Refusal):
            return False

    def files_with(self, texts):
        """(path, text) for each mapped file with one of these texts in it, each of which a library carries that is linked in."""
        for file in self.maps.values():
            try:
                with open_plain(f"/proc/{self.pid}/exe") if file.path == self.exe else self.open_mapped(file) as opened:
                    known = first_in(opened, texts)
            except OSError:
                continue
            if known:
                yield file.path, known

    def c_library(self):
        """The newest version of symbols that its GNU C library has, as numbers; None where there is none, or it cannot be read."""
        for file in self.maps.values():
            if re.fullmatch(r"libc(\.so\.6|-2\.\d+\.so)", file.name):
                try:
                    with self.open_mapped(file) as opened:
                        return newest_symbols(opened)
                except OSError:
                    return None
        return None


def open_plain(path):
    """Opens a plain file, and nothing that would have to be waited for."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a plain file", path)
    return open(descriptor, "rb")


def first_in(file, texts):
    """The first of some texts that is found in an open file; read, not mapped, since it may be cut short meanwhile."""
    longest = max(map(len, texts))
    before = b""
    for _ in range(PIECES):
        piece = file.read(PIECE)
        for known in texts:
            if known in before + piece:
                return known
        if not piece:
            break
        before = piece[-longest:]
    return None


def newest_symbols(file):
    """The newest version of symbols of the GNU C library that an open file names, as numbers."""
    return max((tuple(map(int, found)) for found in re.findall(rb"GLIBC_(\d+)\.(\d+)\0", file.read(PIECE * PIECES))), default=None)


def mapped_files(lines):
    """The files that are mapped, by their paths, in the order of their addresses."""
    files = {}
    for line in lines:
        words = line.rstrip("\n").split(None, 5)
        if len(words) < 6 or not words[5].startswith("/"):
            continue
        file = Mapped(words[5], int(words[0].split("-")[0], 16))
        if ".so" in file.name or words[1][2] == "x":
            files.setdefault(file.path, file)
    return files


def cgroup_files(memberships):
    """The files that may limit the memory of a process, by its line in each hierarchy: those of its group and of all groups above."""
    for line in memberships.splitlines():
        _, controllers, group = line.split(":", 2)
        if controllers == "":
            folder, name = CGROUPS, "memory.max"
        elif "memory" in controllers.split(","):
            folder, name = f"{CGROUPS}/memory", "memory.limit_in_bytes"
        else:
            continue
        parts = group.strip("/").split("/") if group.strip("/") else []
        for count in range(len(parts), -1, -1):
            yield os.path.join(folder, *parts[:count], name)


def number_in(path):
    """The number in a file; None where there is none, or no limit."""
    content = text(path).strip()
    return int(content) if content.isdigit() and int(content) < NO_LIMIT else None


def parents():
    """The parent of each process that there is."""
    found = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        # The name of the program, in brackets, may have any character in it.
        fields = text(f"/proc/{name}/stat").rpartition(")")[2].split()
        if len(fields) > 1 and fields[0] != "Z":
            found[int(name)] = int(fields[1])
    return found


def family(pid):
    """A process and all below it, each behind its parent."""
    children = {}
    for child, parent in sorted(parents().items()):
        children.setdefault(parent, []).append(child)
    found, ahead = [], [pid]
    while ahead:
        found.append(ahead.pop(0))
        ahead = children.get(found[-1], []) + ahead
    return found


def kernel():
    """The version of Linux, as numbers."""
    return tuple(map(int, re.findall(r"\d+", os.uname().release)[:2]))


def huge_pages():
    """Which memory gets huge pages without being asked: "always", "madvise", "never"; "" where there are none."""
    found = re.search(r"\[(\w+)\]", text("/sys/kernel/mm/transparent_hugepage/enabled"))
    return found[1] if found else ""


def ptrace_scope():
    return text("/proc/sys/kernel/yama/ptrace_scope").strip()
