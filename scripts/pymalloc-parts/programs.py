"""What a file is that is to be run, and whether it runs on the library: each refusal tells why it does not.

Owns: all that is known of ELF files, of scripts' first lines, and of programs that need something besides or that ignore what puts them on the
library. What must hold: nothing of the library or of the command is run here but the dynamic linker.
"""

import os
import re
import shlex
import stat
import struct
import subprocess
from typing import NamedTuple, Optional

from basics import CANNOT_RUN, NOT_FOUND, OWN_FAILURE, Refusal, present

# As many interpreters of interpreters as the kernel follows.
INTERPRETERS = 5
# As many bytes as are read of a part of an ELF file; the parts that are read are far smaller.
SEGMENT = 1 << 16
# As many bytes of a table of symbols; those of the largest programs have less.
SYMBOLS = 1 << 26
# CPython by its names, under which PYTHONMALLOC counts.
PYTHON = re.compile(r"python(\d+(\.\d+)*)?[dtmu]*")
# Programs that are known to open their plugins with RTLD_DEEPBIND, so that these free with the C library: PHP with its extensions.
DEEPBIND = re.compile(r"(ls)?php(-?(cli|cgi|fpm|dbg))?[\d.-]*")


class Elf(NamedTuple):
    """What an ELF header says."""

    kind: tuple  # bits, byte order and machine: a library must have the program's
    linker: Optional[str] = None  # the dynamic linker; None for a static program, and for a library
    version: Optional[str] = None  # that of pymalloc, if this is pymalloc

    def machine(self):
        names = {62: "x86-64", 183: "AArch64", 243: "RISC-V"}
        return "32-bit machines" if self.kind[0] == 1 else names.get(self.kind[2], f"machine {self.kind[2]}")


def read_elf(file):
    """The header at the start of an open file; None when it is no ELF file."""
    head = file.read(64)
    if head[:4] != b"\x7fELF":
        return None
    try:
        order = "<" if head[5] == 1 else ">"
        found = Elf((head[4], head[5], *struct.unpack_from(order + "H", head, 18)))
        if head[4] != 2:
            return found
        (table,) = struct.unpack_from(order + "Q", head, 32)
        size, count = struct.unpack_from(order + "HH", head, 54)
        for index in range(count):
            file.seek(table + index * size)
            what, _, offset, _, _, length = struct.unpack(order + "IIQQQQ", file.read(40))
            if what not in (3, 4):
                continue
            file.seek(offset)
            content = file.read(min(length, SEGMENT))
            if what == 3:  # PT_INTERP
                found = found._replace(linker=os.fsdecode(content.rstrip(b"\0")))
            else:  # PT_NOTE
                found = found._replace(version=found.version or version_in(content, order))
        return found
    except (struct.error, IndexError, ValueError, OverflowError):
        raise Refusal(CANNOT_RUN, f"{file.name}: a damaged ELF file") from None


def version_in(notes, order):
    """The version in pymalloc's own note (src/signpost.rs), if it is among these notes."""
    at = 0
    while at + 12 <= len(notes):
        name, description, _ = struct.unpack_from(order + "III", notes, at)
        start = at + 12 + (name + 3) // 4 * 4
        if notes[at + 12 : at + 12 + name] == b"pymalloc\0":
            return notes[start + 8 : start + 24].rstrip(b"\0").decode("ascii", "replace")
        at = start + (description + 3) // 4 * 4
    return None


def exports(file, name):
    """Whether an open ELF file exports a function of this name to the libraries that it is linked with."""
    file.seek(0)
    head = file.read(64)
    try:
        order = "<" if head[5] == 1 else ">"
        (table,) = struct.unpack_from(order + "Q", head, 40)
        size, count = struct.unpack_from(order + "HH", head, 58)
        for index in range(count):
            file.seek(table + index * size)
            _, what, _, _, at, length, link, _ = struct.unpack(order + "IIQQQQII", file.read(48))
            if what != 11:  # SHT_DYNSYM
                continue
            file.seek(at)
            symbols = file.read(min(length, SYMBOLS) // 24 * 24)
            file.seek(table + link * size + 24)
            names, names_length = struct.unpack(order + "QQ", file.read(16))
            file.seek(names)
            texts = file.read(min(names_length, SYMBOLS))
            for start, _, _, section in struct.iter_unpack(order + "IBBH16x", symbols):
                if section and texts[start : start + len(name) + 1] == name + b"\0":
                    return True
    except (struct.error, IndexError, ValueError, OverflowError):
        pass  # without sections, or a damaged file: nothing is known of it
    return False


def find_library(given, home):
    """The path of the library, as LD_PRELOAD is to have it, and what its header says."""
    library = os.path.abspath(given) if given else present(home.library, home.way)
    if re.search(r"[\s:]", library):
        raise Refusal(OWN_FAILURE, f"{library}: LD_PRELOAD cannot name a path with a space or a colon in it")
    try:
        with open(library, "rb") as file:
            elf = read_elf(file)
    except OSError as error:
        raise Refusal(OWN_FAILURE, f"{library}: {error.strerror}") from None
    if not elf:
        raise Refusal(OWN_FAILURE, f"{library}: not a shared library")
    if not elf.version:
        raise Refusal(OWN_FAILURE, f"{library}: a library, but not pymalloc's")
    return library, elf


def find(name):
    """The file that a shell would run for this name."""
    named = "/" in name
    if named and os.path.exists(name) and not os.path.isfile(name):
        raise Refusal(CANNOT_RUN, f"{name}: {'a folder' if os.path.isdir(name) else 'not executable'}")
    candidates = [name] if named else [os.path.join(folder or ".", name) for folder in os.get_exec_path()]
    there = [path for path in candidates if os.path.isfile(path)]
    for path in there:
        if os.access(path, os.X_OK):
            return path
    if there:
        raise Refusal(CANNOT_RUN, f"{there[0]}: not executable")
    raise Refusal(NOT_FOUND, f"{name}: {'no such file' if named else 'command not found'}")


def interpreter_of(line):
    """What runs a script whose first line, behind its #!, is this, and with which arguments; None when that cannot be told."""
    interpreter, *argument = line.strip().split(None, 1)
    if os.path.basename(interpreter) != "env" or not argument:
        return interpreter, argument
    try:
        words = shlex.split(argument[0][2:]) if argument[0].startswith("-S") else argument
    except ValueError:  # env will tell what is wrong with it
        return None
    return run_by_env(words)


def run_by_env(words):
    """What `env` runs, given these words, and with which arguments; None when that cannot be told."""
    while words and "=" in words[0]:
        words = words[1:]
    if not words or words[0].startswith("-"):
        return None
    return find(words[0]), words[1:]


def privileged(path):
    """Why the dynamic linker would ignore LD_PRELOAD for this program; None when it does not."""
    facts = os.stat(path)
    if facts.st_mode & stat.S_ISUID and facts.st_uid != os.getuid():
        return "set-uid"
    if facts.st_mode & stat.S_ISGID and facts.st_mode & stat.S_IXGRP and facts.st_gid != os.getgid():
        return "set-gid"
    try:
        if os.getuid() != 0 and os.getxattr(path, "security.capability"):
            return "given file capabilities"
    except OSError:
        pass  # it has none, or the file system knows none
    return None


def check(path, arguments, library, elf, depth=0):
    """Refuses what would not run on the library: a program, or a script because of what runs it. Gives the path of the program, and the
    arguments that it gets."""
    try:
        with open(path, "rb") as file:
            # As much of a first line as the kernel reads.
            first_line = file.readline(256)
            file.seek(0)
            program = read_elf(file)
    except PermissionError:
        first_line, program = b"", None
    if not program and first_line[:2] == b"#!":
        interpreter = interpreter_of(os.fsdecode(first_line[2:])) if first_line[2:].strip() else ("/bin/sh", [])
        if interpreter:
            if depth == INTERPRETERS:
                raise Refusal(CANNOT_RUN, f"{path}: too many interpreters of interpreters")
            try:
                return check(find(interpreter[0]), [*interpreter[1], path, *arguments], library, elf, depth + 1)
            except Refusal as refusal:
                raise Refusal(refusal.status, f"{path}: its interpreter: {refusal}") from None
        return path, arguments
    reason = privileged(path)
    if reason:
        raise Refusal(CANNOT_RUN, f"{path}: it is {reason}, and Linux ignores LD_PRELOAD for such programs")
    if not program:
        return path, arguments
    if program.kind != elf.kind:
        raise Refusal(CANNOT_RUN, f"{path}: a program for {program.machine()}; {library} is for {elf.machine()}")
    if not program.linker:
        raise Refusal(CANNOT_RUN, f"{path}: statically linked, and such programs ignore LD_PRELOAD: link it with libpymalloc.a")
    name = os.path.basename(program.linker)
    if not name.startswith(("ld-linux", "ld64.so", "ld.so", "ld-musl-")):
        raise Refusal(CANNOT_RUN, f"{path}: linked with another C library ({program.linker}); pymalloc needs the GNU one or musl")
    if not os.path.exists(program.linker):
        raise Refusal(NOT_FOUND, f"{path}: its dynamic linker {program.linker} is not there")
    check_loads(program.linker, library)
    return path, arguments


def ignores_variables(program, arguments):
    """The option with which a Python ignores PYTHONMALLOC, and there is no other way to tell it; None for other programs, and without it."""
    if os.path.basename(program) == "env":
        run = run_by_env(arguments)
        return run and ignores_variables(*run)
    names = os.path.basename(program), os.path.basename(os.path.realpath(program))
    if not any(map(PYTHON.fullmatch, names)):
        return None
    words = iter(arguments)
    for word in words:
        if word == "--check-hash-based-pycs":
            next(words, None)
            continue
        if word[:1] != "-" or word[:2] in ("-", "--"):
            return None
        for place, letter in enumerate(word[1:], 2):
            if letter in "EI":
                return "-" + letter
            if letter in "cm":
                return None
            if letter in "WX":  # what follows is its value
                if place == len(word):
                    next(words, None)
                break
    return None


def against_deepbind(wanted, program, library):
    """The libraries to put in front: the one that takes RTLD_DEEPBIND away, if that is wanted or the program is known to need it."""
    if not wanted and not (program and DEEPBIND.fullmatch(os.path.basename(os.path.realpath(program)))):
        return []
    path = os.path.join(os.path.dirname(library), "libpymalloc-deepbind.so")
    if not os.path.exists(path):
        raise Refusal(OWN_FAILURE, f"{path}, which {'--no-deepbind' if wanted else program} needs, is not there: run make")
    return [path]


def check_loads(linker, library):
    """Lets the program's dynamic linker look for all that the library needs; nothing of the library is run."""
    quiet = {key: value for key, value in os.environ.items() if not key.startswith("LD_") or key == "LD_LIBRARY_PATH"}
    listed = subprocess.run([linker, "--list", library], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=quiet)
    complaint = (listed.stderr or listed.stdout).decode(errors="replace").splitlines()
    version = re.findall("`(GLIBC_[^']*)'", "".join(complaint))
    if version:
        raise Refusal(OWN_FAILURE, f"{library} is built for a newer C library than the command's: it needs {version[-1]}")
    if listed.returncode or listed.stderr:
        raise Refusal(OWN_FAILURE, f"{library} cannot be loaded: {complaint[-1] if complaint else f'{linker} fails'}")


