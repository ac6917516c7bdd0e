"""`python -m pymalloc`: the same Python once more, on the library."""

import os
import signal
import subprocess
import sys
import unittest

import installed

sys.path.insert(0, os.path.join(installed.ROOT, "benches", "python"))
import pythons

# Tells all that must be as without it, and then whether it is on the library.
PROGRAM = """
import os, sys
print(os.getpid(), sys.argv, sys.flags.dev_mode, sys.flags.dont_write_bytecode, sys.warnoptions, sys.path[0], sorted(os.listdir("/proc/self/fd")))
import pymalloc
print(pymalloc.enabled(), file=sys.stderr)
sys.exit(7)
"""
ENVIRONMENT = {**os.environ, "PYTHONPATH": installed.MODULE, "PYTHONDONTWRITEBYTECODE": "1"}


class Again(installed.Test):
    def setUp(self):
        super().setUp()
        # As in a checkout that is built.
        self.environment = {**ENVIRONMENT, "CARGO_TARGET_DIR": self.path("target")}
        os.makedirs(self.path("target/release"))
        self.library = self.path("target/release/libpymalloc.so")
        os.symlink(installed.LIBRARY, self.library)

    def python(self, python, *arguments, **more):
        more = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "env": self.environment, **more}
        process = subprocess.Popen([python, *arguments], **more)
        out, err = process.communicate(timeout=installed.LIMIT)
        return process.pid, subprocess.CompletedProcess(arguments, process.returncode, out, err)

    def each(self):
        return [interpreter.path for interpreter in pythons.interpreters()]

    def test_it_is_the_same_python(self):
        program = self.write("program of mine.py", PROGRAM)
        found = self.each()
        forms = (
            ([], ["-m", "pymalloc"]),
            (["-X", "dev", "-W", "error"], ["-m", "pymalloc"]),
            ([], ["-Bm", "pymalloc"]),
            (["-W", "ignore"], ["-Bmpymalloc"]),
        )
        for python in found:
            for options, module in forms if python in (found[0], found[-1]) else forms[:1]:
                kept = [*options, *(["-B"] if module[0].startswith("-B") else [])]
                first, alone = self.python(python, *kept, program, "--x", "a b", "")
                second, done = self.python(python, *options, *module, program, "--x", "a b", "")
                self.assertEqual((alone.returncode, alone.stderr), (7, "False\n"))
                self.assertEqual((done.returncode, done.stderr), (7, "True\n"), done)
                self.assertEqual(done.stdout, alone.stdout.replace(str(first), str(second), 1))

    def test_modules_and_texts(self):
        python = self.each()[0]
        enabled = "import pymalloc, sys; print(pymalloc.enabled(), sys.argv)"
        self.assertEqual(self.python(python, "-m", "pymalloc", "-c", enabled, "-x")[1].stdout, "True ['-c', '-x']\n")
        self.write("mine.py", enabled)
        self.assertIn("True ['", self.python(python, "-m", "pymalloc", "-m", "mine", cwd=self.folder)[1].stdout)
        with open(self.path("mine.py"), encoding="utf-8") as file:
            self.assertEqual(self.python(python, "-m", "pymalloc", "-", stdin=file)[1].stdout, "True ['-']\n")

    def test_pytest_and_its_like_end_as_they_do(self):
        case = "import unittest, pymalloc\nclass Case(unittest.TestCase):\n    def test(self): self.assertFalse(pymalloc.enabled())\n"
        self.write("test_it.py", case)
        for options, status in (([], 0), (["-m", "pymalloc"], 1)):
            done = self.python(self.each()[-1], *options, "-m", "unittest", "test_it", cwd=self.folder)[1]
            self.assertEqual(done.returncode, status, done.stderr)

    def test_signals_end_it(self):
        _, done = self.python(self.each()[-1], "-m", "pymalloc", "-c", "import os, signal; os.kill(os.getpid(), signal.SIGTERM)")
        self.assertEqual(done.returncode, -signal.SIGTERM)

    def test_what_python_it_forks_and_starts_is_on_it(self):
        text = (
            "import multiprocessing, pymalloc\n"
            "def enabled(_): return pymalloc.enabled()\n"
            "if __name__ == '__main__':\n"
            "    for method in ('fork', 'spawn', 'forkserver'):\n"
            "        with multiprocessing.get_context(method).Pool(2) as pool: print(pool.map(enabled, range(2)))\n"
        )
        done = self.python(self.each()[-1], "-m", "pymalloc", self.write("pool.py", text))[1]
        self.assertEqual((done.stdout, done.stderr), ("[True, True]\n" * 3, ""))

    def test_it_can_be_off(self):
        for conf, shown in (("off", "False None\n"), ("retain=0", f"True {self.library}\n")):
            environment = {**self.environment, "PYMALLOC_CONF": conf}
            text = "import os, pymalloc; print(pymalloc.enabled(), os.environ.get('LD_PRELOAD'))"
            self.assertEqual(self.python(self.each()[0], "-m", "pymalloc", "-c", text, env=environment)[1].stdout, shown)

    def test_options_that_ignore_variables_are_told(self):
        # Without PYTHONPATH it finds the module in the folder that it is started in.
        done = self.python(self.each()[-1], "-Em", "pymalloc", "-c", "import pymalloc; print(pymalloc.enabled())", cwd=installed.MODULE)[1]
        self.assertEqual((done.returncode, done.stdout), (0, "False\n"))
        said = "python -m pymalloc: Python's option -E ignores PYTHONMALLOC: Python's small objects do not come from pymalloc\n"
        self.assertEqual(done.stderr, said)

    def test_commands_and_help(self):
        python = self.each()[0]
        for arguments in ([], ["--help"]):
            done = self.python(python, "-m", "pymalloc", *arguments)[1]
            self.assertEqual((done.returncode, done.stderr), (0, ""))
            self.assertIn("Usage: python [option...] -m pymalloc", done.stdout)
        self.assertRegex(self.python(python, "-m", "pymalloc", "--version")[1].stdout, r"\Apymalloc \d")
        self.assertEqual(self.python(python, "-m", "pymalloc", "run", "echo", "x")[1].stdout, "x\n")
        self.assertEqual(self.python(python, "-m", "pymalloc", "run", "no-such")[1].returncode, 127)
        os.remove(self.library)
        done = self.python(python, "-m", "pymalloc", "x.py")[1]
        self.assertEqual((done.returncode, done.stderr), (125, f"python -m pymalloc: {self.library} is not there: run make\n"))


if __name__ == "__main__":
    unittest.main()
