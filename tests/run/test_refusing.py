"""What cannot run on pymalloc is not started: one line says why, and the exit status is that of a shell."""

import ctypes
import os
import re
import shutil
import stat
import struct
import subprocess
import sys
import unittest

import installed

# An ordinary program of this machine.
PROGRAM = os.path.realpath(shutil.which("true"))


def contents(path):
    with open(path, "rb") as file:
        return file.read()


def with_linker(program, linker):
    """The same program with another dynamic linker."""
    before = re.search(rb"/[\w./-]*/ld[\w.-]*\.so[\w.]*\0", program)[0]
    return program.replace(before, linker.ljust(len(before), b"\0")[: len(before) - 1] + b"\0", 1)


def map_of_this_process():
    """The libraries that are open in this process, and all of the C library's that it could open."""
    ctypes.CDLL("libm.so.6")
    with open("/proc/self/maps", encoding="utf-8") as maps:
        return {line.split()[-1] for line in maps if "/" in line}


class Refusing(installed.Test):
    def refuses(self, status, pattern, *command, **more):
        done = self.run_it(*command, **more)
        self.assertEqual((done.returncode, done.stdout or ""), (status, ""), done)
        self.assertRegex(done.stderr, rf"\Apymalloc-run: .*{pattern}.*\n\Z")

    def static(self):
        path = self.path("static")
        subprocess.run(["cc", "-static", "-x", "c", "-", "-o", path], input=b"int main(void) { return 0; }", check=True)
        return path

    def test_what_is_not_there(self):
        self.refuses(127, "no-such-command: command not found", "no-such-command")
        self.refuses(127, "/no/such: no such file", "/no/such")
        self.refuses(127, ": command not found", "")

    def test_what_is_not_executable(self):
        self.refuses(126, "text: not executable", self.write("text", "echo", 0o644))
        self.refuses(126, "a folder", self.folder)

    def test_static_programs(self):
        self.refuses(126, "static: statically linked", self.static())

    def test_other_c_libraries(self):
        other = self.write("other", with_linker(contents(PROGRAM), b"/system/bin/linker64"))
        self.refuses(126, r"another C library \(/system/bin/linker64\)", other)
        old = self.write("old", with_linker(contents(PROGRAM), b"/lib/ld-linux.so"))
        self.refuses(127, "its dynamic linker /lib/ld-linux.so is not there", old)

    def test_other_machines(self):
        program = bytearray(contents(PROGRAM))
        program[18:20] = struct.pack("<H", 22)
        self.refuses(126, "other: a program for machine 22; .* is for", self.write("other", bytes(program)))
        program[4] = 1
        self.refuses(126, "short: a program for 32-bit machines", self.write("short", bytes(program)))

    def test_damaged_programs(self):
        self.refuses(126, "half: a damaged ELF file", self.write("half", contents(PROGRAM)[:70]))

    def test_set_uid_programs(self):
        if os.getuid() == 0:
            program = shutil.copy(PROGRAM, self.path("mine"))
            self.output(program)
            os.chown(program, 12345, 54321)
            os.chmod(program, 0o755 | stat.S_ISGID)
            self.refuses(126, "it is set-gid", program)
            os.chmod(program, 0o755 | stat.S_ISUID)
        else:
            program = shutil.which("su")
        self.refuses(126, "it is set-uid", program)

    @unittest.skipIf(os.getuid() != 0 or sys.version_info < (3, 9), "only root gives capabilities, and the rights away")
    def test_programs_with_capabilities(self):
        program = shutil.copy(PROGRAM, self.path("capable"))
        try:
            # cap_net_bind_service, effective and permitted, as setcap writes it.
            os.setxattr(program, "security.capability", struct.pack("<5I", 0x2000001, 1 << 10, 0, 0, 0))
        except OSError as error:
            self.skipTest(f"no capabilities here: {error}")
        self.output(program)
        os.chmod(self.folder, 0o755)
        library = shutil.copy(installed.LIBRARY, self.path("library.so"))
        self.refuses(126, "it is given file capabilities", "--library", library, program, user=65534)

    def test_scripts_of_such_interpreters(self):
        static = self.static()
        script = self.write("script", f"#! {static} -x\n")
        self.refuses(126, "script: its interpreter: .*static: statically linked", script)
        second = self.write("second", f"#!{script}\n")
        self.refuses(126, "second: its interpreter: .*script: its interpreter: .*static", second)
        self.refuses(127, "lost: its interpreter: /no/python: no such file", self.write("lost", "#!/no/python\n"))
        path = {**os.environ, "PATH": f"{self.folder}:{os.environ['PATH']}"}
        for line in ("env static", "env -S static -x", "env -S A=b static"):
            self.refuses(126, "by-env: its interpreter: .*static", self.write("by-env", f"#!/usr/bin/{line}\n"), env=path)
        self.refuses(127, "no-such: command not found", self.write("by-env", "#!/usr/bin/env no-such\n"))
        loop = self.write("loop", f"#!{self.path('loop')}\n")
        self.refuses(126, "too many interpreters", loop)

    def test_libraries_that_cannot_be_used(self):
        self.refuses(125, "/no/lib.so: No such file", "--library", "/no/lib.so", "true")
        self.refuses(125, "not a shared library", "--library", __file__, "true")
        for other in ("libc.so.6", "libm.so.6"):
            path = next(path for path in map_of_this_process() if path.endswith(other))
            self.refuses(125, f"{re.escape(other)}: a library, but not pymalloc's", "--library", path, "true")
        self.refuses(125, "a space or a colon", "--library", "/a b/libpymalloc.so", "true")
        newer = re.sub(rb"GLIBC_2(\.\d+)\0", rb"GLIBC_9\1\0", contents(installed.LIBRARY))
        library = self.write("newer.so", newer)
        self.refuses(125, r"newer C library than the command's: it needs GLIBC_9\.\d+", "--library", library, "true")
        library = self.write("half.so", newer[:3000])
        self.refuses(125, "half.so cannot be loaded: ", "--library", library, "true")

    def test_a_checkout_that_is_not_built(self):
        self.program = os.path.join(installed.ROOT, "scripts/pymalloc-run")
        checkout = {**os.environ, "CARGO_TARGET_DIR": self.folder}
        library = self.path("release/libpymalloc.so")
        self.refuses(125, f"{library} is not there: run make", "true", env=checkout)
        os.mkdir(self.path("release"))
        os.symlink(installed.LIBRARY, library)
        self.assertEqual(self.output("sh", "-c", "echo $LD_PRELOAD", env=checkout), f"{library}\n")
        self.refuses(125, "release/pymalloc-watch is not there: run make watch", "--watch", "true", env=checkout)

    def test_a_full_disk(self):
        with open("/dev/full", "wb") as full:
            self.assertEqual(self.run_it("no-such-command", stderr=full).returncode, 127)
            for option in ("--help", "--version", "--print"):
                self.refuses(125, "No space left on device", option, stdout=full)

    def test_a_closed_stderr_is_nobody_else(self):
        done = self.run_it("no-such-command", preexec_fn=lambda: os.close(2))
        self.assertEqual((done.returncode, done.stdout, done.stderr), (127, "", ""))

    def test_mistakes_in_the_call(self):
        self.refuses(125, "there is no command")
        self.refuses(125, "there is no command", "--stats", "--")
        self.refuses(125, "unrecognized arguments: --stat", "--stat", "true")
        self.refuses(125, "'slack' is not of the form KEY=VALUE", "--conf", "slack", "true")
        self.refuses(125, "'a=1,b=2' is not of the form", "--conf", "a=1,b=2", "true")
        self.refuses(125, "--every goes with --heapmap", "--every", "1", "true")
        for number in ("0", "nan", "x", "-1"):
            self.refuses(125, "is not a number of seconds", f"--every={number}", "true")
        self.refuses(125, "pymalloc-watch is not there: run make watch and make install", "--watch", "true")


if __name__ == "__main__":
    unittest.main()
