"""`pymalloc doctor`: each finding, on a real process that has what is found. What is the whole machine's is told it instead."""

import contextlib
import ctypes
import io
import json
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import time
import unittest
from unittest import mock

import installed

sys.path.insert(0, installed.PARTS)
import doctor
import facts
import findings

# The tool that reads figures from outside, of the same source as the library. Without it the doctor goes by options and variables.
WATCH = os.environ.get("PYMALLOC_WATCH")
# A Python program that does something first, says that it is there, and waits.
WAITS = "import sys; print('there', flush=True); sys.stdin.read()"
# The same in C, with something in front.
WAITS_IN_C = """
#include <stdio.h>
%s
int main(void) { puts("there"); fflush(stdout); getchar(); return 0; }
"""
# A malloc of its own that is just good enough for it.
OWN_MALLOC = """
#include <stddef.h>
#include <string.h>
static char room[1 << 20]; static size_t used;
void *malloc(size_t size) { void *p = room + used; used += (size + 15) & ~(size_t)15; return p; }
void free(void *p) { (void)p; }
void *calloc(size_t n, size_t size) { return memset(malloc(n * size), 0, n * size); }
void *realloc(void *p, size_t size) { void *q = malloc(size); if (p) memcpy(q, p, size); return q; }
"""
USES_MALLOC = """
#include <stdlib.h>
static void *block;
__attribute__((constructor)) static void allocate(void) { block = malloc(100); }
"""
# Sets a filter of system calls that allows all.
FILTERS = """
import ctypes, struct
libc = ctypes.CDLL(None)
allow = ctypes.create_string_buffer(struct.pack("=HBBI", 6, 0, 0, 0x7fff0000))
program = ctypes.create_string_buffer(struct.pack("=H6xQ", 1, ctypes.addressof(allow)))
assert libc.prctl(38, 1, 0, 0, 0) == 0 and libc.prctl(22, 2, program) == 0
"""
# Overwrites the variables that it was started with, as setproctitle does.
OVERWRITES = """
import ctypes
fields = open("/proc/self/stat").read().rpartition(")")[2].split()
start, end = map(int, fields[47:49])
ctypes.memset(start, ord("x"), end - start - 1)
"""
NOBODY = 65534


class Doctor(installed.Test):
    def setUp(self):
        super().setUp()
        if WATCH:
            os.symlink(WATCH, self.path("bin/pymalloc-watch"))

    # --- What is started

    def begin(self, *command, on_it=True, **more):
        """Starts a process that says it is there, to be ended with the test; gives its number."""
        command = [self.program, *command] if on_it else command
        more = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, **more}
        process = subprocess.Popen(command, start_new_session=True, **more)
        self.addCleanup(self.finish, process)
        self.assertEqual(process.stdout.readline(), b"there\n")
        return process.pid

    def finish(self, process):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()

    def python(self, *options, text=WAITS, **more):
        return self.begin(sys.executable, *options, "-c", text, **more)

    def compiled(self, name, front="", *options):
        path = self.path(name)
        source = (WAITS_IN_C % front).encode()
        subprocess.run(["cc", "-O1", "-fno-builtin", "-o", path, "-x", "c", "-", "-x", "none", *options], input=source, check=True)
        return path

    def with_library(self, path=None, **more):
        """An environment as it would be without `pymalloc run`."""
        return {**os.environ, "LD_PRELOAD": path or self.library, "PYTHONMALLOC": "malloc", **more}

    # --- What is found

    def ask(self, *arguments, **more):
        more = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "timeout": installed.LIMIT, **more}
        return subprocess.run([self.path("bin/pymalloc"), "doctor", *arguments], **more)

    def examine(self, pid, **more):
        """What --json says of a process alone, and the exit status."""
        done = self.ask("--json", str(pid), **more)
        self.assertEqual(done.stderr, "")
        told = json.loads(done.stdout)
        return next((entry for entry in told["processes"] if entry["pid"] == pid), None), told, done.returncode

    def finds(self, pid, level, name, pattern, **more):
        """It must find this, with what mends it; gives all of it."""
        entry, told, status = self.examine(pid, **more)
        found = {finding["name"]: finding for finding in entry["findings"]}
        self.assertIn(name, found, entry)
        self.assertEqual((found[name]["level"], bool(found[name]["mend"])), (level, True), found[name])
        self.assertRegex(found[name]["text"], pattern)
        problems = [finding for finding in entry["findings"] if finding["level"] == "problem"]
        self.assertEqual(status, 1 if problems or any(f["level"] == "problem" for p in told["processes"] for f in p["findings"]) else 0)
        shown = self.ask(str(pid), **more).stdout
        # The two were asked one after the other: what is in use may differ.
        self.assertIn(re.sub(r"\d+", "N", found[name]["text"]), re.sub(r"\d+", "N", shown))
        self.assertIn(f"-> {found[name]['mend']}", shown)
        return entry

    # --- All is well

    def test_a_python_that_is_on_it(self):
        pid = self.python()
        entry, told, status = self.examine(pid)
        self.assertEqual((status, entry["library"], entry["objects"], told["format"]), (0, os.path.realpath(self.library), True, 1))
        self.assertRegex(entry["version"], r"\A\d+\.\d+\.\d+\Z")
        self.assertEqual(entry["python"], f"3.{sys.version_info[1]}")
        self.assertEqual([finding["level"] for finding in entry["findings"][:2]], ["note", "note"])
        self.assertRegex(self.ask(str(pid)).stdout, r"(?m)^1 process, 1 on pymalloc; Python's objects in 1 of 1; problems: 0, warnings: ")

    def test_without_a_process_it_starts_one(self):
        done = self.ask("--python", sys.executable)
        self.assertEqual((done.returncode, done.stderr), (0, ""), done)
        self.assertIn("Python's objects come from it", done.stdout)
        os.remove(self.library)
        done = self.ask()
        self.assertEqual((done.returncode, done.stderr), (1, ""))
        self.assertRegex(done.stdout, r"\Aproblem  .*libpymalloc\.so\.0 is not there\n +-> run make and make install\n0 processes, ")

    def test_what_cannot_be_started_here(self):
        os.makedirs(self.path("a b/bin"))
        os.symlink(self.path("lib"), self.path("a b/lib"))
        os.symlink(self.path("share"), self.path("a b/share"))
        shutil.copy(self.path("bin/pymalloc"), self.path("a b/bin"))
        done = subprocess.run([self.path("a b/bin/pymalloc"), "doctor"], stdout=subprocess.PIPE, text=True)
        self.assertEqual(done.returncode, 1)
        self.assertRegex(done.stdout, r"\Aproblem  .*a space or a colon in it\n +-> install pymalloc into a folder")
        other = self.path("libjemalloc.so.2")
        subprocess.run(["cc", "-shared", "-x", "c", "-", "-o", other], input=b"int nothing;", check=True)
        done = self.ask(env={**os.environ, "LD_PRELOAD": other})
        self.assertEqual(done.returncode, 1)
        self.assertRegex(done.stdout, r"\Aproblem  LD_PRELOAD names .*libjemalloc.so.2, whose malloc would come before .*\n +-> take it out\n")

    def test_a_program_with_the_library_inside(self):
        static = os.path.join(installed.TARGET, "release/libpymalloc.a")
        if not os.path.exists(static):
            self.skipTest("not built: libpymalloc.a")
        program = self.compiled("inside", USES_MALLOC, static, "-lpthread", "-ldl")
        entry, _, status = self.examine(self.begin(program, on_it=False))
        self.assertEqual((status, entry["library"], entry["objects"]), (0, program, None))

    # --- It is not loaded

    def test_not_asked_for(self):
        self.finds(self.python(on_it=False), "problem", "not-loaded", "LD_PRELOAD does not name it")

    def test_it_is_off(self):
        self.finds(self.python(env={**os.environ, "PYMALLOC_CONF": "off"}), "problem", "off", "PYMALLOC_CONF says so")

    def test_a_static_program(self):
        pid = self.begin(self.compiled("static", "", "-static"), on_it=False, env=self.with_library())
        self.finds(pid, "problem", "static", "statically linked")

    @unittest.skipIf(os.getuid() != 0, "only root can give a program away")
    def test_a_set_uid_program(self):
        program = self.compiled("mine")
        os.chmod(self.folder, 0o755)
        os.chown(program, NOBODY, NOBODY)
        os.chmod(program, 0o755 | stat.S_ISUID)
        self.finds(self.begin(program, on_it=False, env=self.with_library()), "problem", "privileged", "the program is set-uid")

    @unittest.skipUnless(shutil.which("musl-gcc"), "not installed: musl-gcc")
    def test_a_program_on_musl(self):
        program = self.path("musl")
        subprocess.run(["musl-gcc", "-x", "c", "-", "-o", program], input=(WAITS_IN_C % "").encode(), check=True)
        self.finds(self.begin(program, on_it=False), "problem", "not-loaded", "LD_PRELOAD does not name it")
        entry, _, status = self.examine(self.begin(program))
        self.assertEqual((status, os.path.basename(entry["library"])[:14]), (0, "libpymalloc.so"))

    def test_no_such_file(self):
        pid = self.python(on_it=False, env=self.with_library("/no/libpymalloc.so"))
        self.finds(pid, "problem", "no-file", "LD_PRELOAD names /no/libpymalloc.so, which is not there")

    def test_a_bare_name(self):
        self.finds(self.python(on_it=False, env=self.with_library("libpymalloc.so")), "problem", "no-folder", "without a folder")

    def test_what_is_no_file_is_not_waited_for(self):
        path = self.path("libpymalloc.so")
        pid = self.python(on_it=False, env=self.with_library(path))
        os.mkfifo(path)
        self.finds(pid, "problem", "no-file", "which cannot be read: not a plain file")

    def test_a_library_for_another_machine(self):
        with open(installed.LIBRARY, "rb") as file:
            content = bytearray(file.read())
        content[18] = 22
        path = self.write("libpymalloc.so", bytes(content))
        self.finds(self.python(on_it=False, env=self.with_library(path)), "problem", "other-machine", "is for another machine")

    def test_a_library_for_a_newer_system(self):
        # The linker would end the program at once: it comes later.
        path = self.path("libpymalloc.so")
        pid = self.python(on_it=False, env=self.with_library(path))
        with open(installed.LIBRARY, "rb") as file:
            self.write("libpymalloc.so", re.sub(rb"GLIBC_2(\.\d+)\0", rb"GLIBC_9\1\0", file.read()))
        self.finds(pid, "problem", "not-loadable", r"needs GLIBC_9\.\d+, and the program's C library has GLIBC_2\.\d+ at most")
        shutil.copy(installed.LIBRARY, path)
        self.finds(pid, "problem", "not-loaded", "though LD_PRELOAD names it")

    # --- Another one serves

    def test_a_malloc_of_the_programs_own(self):
        pid = self.begin(self.compiled("own", OWN_MALLOC, "-rdynamic"))
        self.finds(pid, "problem", "own-malloc", "a malloc of its own")

    def test_another_preload_in_front(self):
        other = self.path("libjemalloc.so.2")
        subprocess.run(["cc", "-shared", "-x", "c", "-", "-o", other], input=b"int nothing;", check=True)
        pid = self.python(on_it=False, env=self.with_library(f"{other}:{self.library}"))
        self.finds(pid, "problem", "other-preload", "names .*/libjemalloc.so.2 first")

    def test_a_library_with_one_inside(self):
        other = self.path("libarrow.so")
        source = b'const char *text(void) { return "<jemalloc>: Error"; }'
        subprocess.run(["cc", "-shared", "-fPIC", "-x", "c", "-", "-o", other], input=source, check=True)
        pid = self.python(text=f"import ctypes; ctypes.CDLL({other!r})\n{WAITS}")
        entry = self.finds(pid, "note", "allocator-inside", "libarrow.so has jemalloc inside")
        self.assertTrue(entry["objects"])

    # --- Python's objects

    def test_options_that_ignore_the_variable(self):
        for option in ("-E", "-I"):
            entry = self.finds(self.python(option), "problem", "objects-elsewhere", f"option {option} ignores PYTHONMALLOC")
            self.assertIs(entry["objects"], False)

    def test_the_variable_says_otherwise(self):
        for value, said in (("pymalloc", "PYTHONMALLOC is pymalloc"), ("", "PYTHONMALLOC is not set")):
            pid = self.python(on_it=False, env=self.with_library(PYTHONMALLOC=value))
            self.finds(pid, "problem", "objects-elsewhere", said)

    def test_a_free_threaded_python(self):
        # A build of that kind is known by its name, and has its objects elsewhere whatever the variable says.
        python = shutil.copy(os.path.realpath(sys.executable), self.path("python3.13t"))
        home = f"{sys.base_prefix}:{sys.base_exec_prefix}"
        pid = self.begin(python, "-c", WAITS, on_it=False, env=self.with_library(PYTHONMALLOC="", PYTHONHOME=home))
        entry = self.finds(pid, "problem", "objects-elsewhere", "a free-threaded Python never")
        self.assertEqual(entry["python"], "3.13t")

    def test_variables_that_are_no_more(self):
        pid = self.python(text=OVERWRITES + WAITS)
        with contextlib.suppress(FileNotFoundError):
            os.remove(self.path("bin/pymalloc-watch"))
        entry = self.finds(pid, "warning", "objects-unknown", "cannot be told")
        self.assertIsNone(entry["objects"])

    @unittest.skipUnless(WATCH, "PYMALLOC_WATCH does not name the tool")
    def test_objects_are_counted(self):
        pid = self.python(text=OVERWRITES + WAITS)
        entry = self.examine(pid)[0]
        self.assertIs(entry["objects"], True)
        self.assertRegex(entry["findings"][0]["text"], r"; \d+ MiB in use\Z")
        pid = self.python("-E", text=OVERWRITES + WAITS)
        self.finds(pid, "problem", "objects-elsewhere", "option -E ignores")

    def test_without_figures_the_variables_count(self):
        pids = self.python(), self.python("-E")
        with contextlib.suppress(FileNotFoundError):
            os.remove(self.path("bin/pymalloc-watch"))
        self.assertEqual([self.examine(pid)[0]["objects"] for pid in pids], [True, False])

    # --- What surrounds it

    def test_php_without_what_it_needs(self):
        program = self.compiled("php8.2")
        self.finds(self.begin(program, on_it=False, env=self.with_library()), "problem", "deepbind", "RTLD_DEEPBIND")

    def test_a_filter_of_system_calls(self):
        self.finds(self.python(text=FILTERS + WAITS), "note", "seccomp", "a filter of system calls")

    def test_a_limit_of_addresses(self):
        for limit, level in ((300 << 10, "warning"), (8 << 20, "note")):
            pid = self.begin("sh", "-c", f'ulimit -v {limit}; exec "$@"', "sh", sys.executable, "-c", WAITS)
            self.finds(pid, level, "ulimit-v", f"ulimit -v is {limit >> 10:,} MiB")

    @unittest.skipIf(os.getuid() != 0, "only root can lock as much")
    def test_locked_memory(self):
        pid = self.python(text=f"import ctypes\nkept = bytes(32 << 20)\nassert ctypes.CDLL(None).mlockall(1) == 0\n{WAITS}")
        self.finds(pid, "warning", "locked", "are locked")

    def test_limits_of_cgroups(self):
        for kept, level, name in ((1, "note", "cgroup-tight"), (56, "warning", "cgroup-full")):
            group = self.memory_group(name)
            self.write_to(group, 64 << 20)
            join = f'echo $$ > {group}/cgroup.procs; exec "$@"'
            pid = self.begin("sh", "-c", join, "sh", sys.executable, "-c", f"kept = bytearray(b'x') * ({kept} << 20)\n{WAITS}")
            self.finds(pid, level, name, "its cgroup may have 64 MiB and has")

    def memory_group(self, name):
        """A folder of a new control group for memory, to be removed with the test."""
        for parent in ("/sys/fs/cgroup", "/sys/fs/cgroup/memory"):
            group = f"{parent}/pymalloc-test-{name}-{os.getpid()}"
            try:
                os.mkdir(group)
            except OSError:
                continue
            self.addCleanup(self.remove_group, group)
            if any(os.path.exists(f"{group}/{name}") for name in ("memory.max", "memory.limit_in_bytes")):
                return group
        self.skipTest("no control group for memory can be made here")

    def write_to(self, group, limit):
        name = "memory.max" if os.path.exists(f"{group}/memory.max") else "memory.limit_in_bytes"
        with open(f"{group}/{name}", "w", encoding="ascii") as file:
            file.write(str(limit))

    def remove_group(self, group):
        end = time.monotonic() + 10
        while os.path.exists(group) and time.monotonic() < end:
            for pid in facts.text(f"{group}/cgroup.procs").split():
                os.kill(int(pid), signal.SIGKILL)
            try:
                os.rmdir(group)
            except OSError:
                time.sleep(0.05)

    def test_a_library_that_was_replaced(self):
        copy = shutil.copy(installed.LIBRARY, self.path("libpymalloc.so"))
        pid = self.python(on_it=False, env=self.with_library(copy))
        shutil.copy(installed.LIBRARY, self.path("new"))
        os.replace(self.path("new"), copy)
        entry = self.finds(pid, "warning", "replaced", "is another file by now")
        self.assertRegex(entry["version"], r"\A\d", "told by the memory of the process")

    # --- Which processes

    def test_workers(self):
        text = (
            "import os, subprocess, sys\n"
            "workers = [pid for pid in (os.fork(), os.fork())]\n"
            "if 0 not in workers:\n"
            "    environment = {name: value for name, value in os.environ.items() if name != 'LD_PRELOAD'}\n"
            "    lost = subprocess.Popen([sys.executable, '-c', 'import sys; sys.stdin.read()'], env=environment)\n"
            "    helper = subprocess.Popen(['cat'], env=environment)\n"
            "    os.waitid(os.P_PID, helper.pid, os.WNOHANG | os.WEXITED)\n"
            "    import time; time.sleep(0.3)\n"
            "    print('there', flush=True)\n"
            "sys.stdin.read()\n"
        )
        pid = self.python(text=text)
        _, told, status = self.examine(pid)
        shown = [(bool(entry["library"]), entry["objects"], entry["python"] is not None) for entry in told["processes"]]
        self.assertEqual(shown.count((True, True, True)), 4, told)
        self.assertEqual((shown.count((False, False, True)), shown.count((False, None, False)), status), (1, 1, 1))
        levels = {entry["python"] is not None: entry["findings"][0]["level"] for entry in told["processes"] if not entry["library"]}
        self.assertEqual(levels, {True: "problem", False: "warning"})

    def test_those_that_cannot_be_looked_at(self):
        done = self.ask("999999999")
        self.assertEqual((done.returncode, done.stdout.splitlines()[0]), (2, "problem  there is no process 999999999"))
        if os.getuid() != 0 or sys.version_info < (3, 9):
            return
        os.chmod(self.folder, 0o755)
        pid = self.python()
        done = self.ask("--json", str(pid), user=NOBODY)
        told = json.loads(done.stdout)
        self.assertEqual((done.returncode, told["status"], told["processes"]), (2, 2, []))
        self.assertEqual((told["unreadable"][0]["pid"], told["unreadable"][0]["name"]), (pid, "unreadable"))
        shown = self.ask(str(pid), str(os.getpid()), user=NOBODY).stdout
        self.assertRegex(shown, rf"(?m)\Aproblem  process {pid} may not be looked at\n.*->.*\n +nor may \d+ others?, among these .*{os.getpid()}")

    def test_mistakes_in_the_call(self):
        for arguments, said in ((["x"], "invalid int value"), (["0"], "a number above 0"), (["--jso"], "unrecognized"), (["--python", "x", "1"], "goes with no")):
            done = self.ask(*arguments)
            self.assertEqual((done.returncode, done.stdout), (2, ""))
            self.assertRegex(done.stderr, rf"\Apymalloc doctor: .*{said}.*\n\Z")

    # --- The machine

    def test_what_is_the_whole_machines(self):
        def found(**told):
            with contextlib.ExitStack() as stack:
                for name, value in told.items():
                    stack.enter_context(mock.patch.object(facts, name, return_value=value))
                return {finding.name: (finding.level, bool(finding.mend)) for finding in findings.of_machine()}

        self.assertEqual(found(kernel=(5, 10), huge_pages="madvise"), {})
        self.assertEqual(found(kernel=(3, 10), huge_pages="never"), {"old-kernel": ("warning", True)})
        self.assertEqual(found(kernel=(4, 5), huge_pages="always"), {"huge-pages": ("note", True)})
        with mock.patch.object(findings.mmap, "PAGESIZE", 1 << 16):
            self.assertEqual(found(kernel=(5, 10), huge_pages=""), {"large-pages": ("warning", True)})
        report = doctor.Report()
        report.machine = [findings.warning("old-kernel", "a\x1b[31m text", "a mend")]
        with contextlib.redirect_stdout(io.StringIO()) as shown:
            print(*doctor.lines(report), sep="\n")
        self.assertEqual(shown.getvalue().splitlines()[:2], ["warning  a?[31m text", "         -> a mend"])


if __name__ == "__main__":
    unittest.main()
