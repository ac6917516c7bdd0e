"""What the tests of `pymalloc-run` share: a folder of their own for each test, and in it an installed copy to run.

The copy lies as `make install` lays it, with the library that PYMALLOC_LIBRARY names (or else the one that is built) behind a link.
"""

import os
import shutil
import subprocess
import tempfile
import time
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
TARGET = os.path.join(ROOT, os.environ.get("CARGO_TARGET_DIR", "target"))
LIBRARY = os.path.abspath(os.environ.get("PYMALLOC_LIBRARY") or os.path.join(TARGET, "release/libpymalloc.so"))
MODULE = os.path.join(ROOT, "python")
PARTS = os.path.join(ROOT, "scripts/pymalloc-parts")
# Seconds, longer than anything here takes.
LIMIT = 60

# Nobody's settings but the tests' own.
for name in ("LD_PRELOAD", "PYTHONMALLOC", "PYMALLOC_CONF"):
    os.environ.pop(name, None)


def collector_of(pid):
    """The collector beside a command: its plan, which it has read from a pipe, cannot be seen any more, but its socket can."""
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/cmdline", encoding="utf-8", errors="replace") as file:
                is_one = "pymalloc-parts/collector.py" in file.read()
            links = [os.readlink(f"/proc/{name}/fd/{number}") for number in os.listdir(f"/proc/{name}/fd")] if is_one else []
        except OSError:
            continue
        with open("/proc/net/unix", encoding="utf-8") as file:
            sockets = [line.split()[6] for line in file if f"@pymalloc-run-{pid}-" in line]
        if any(f"socket:[{number}]" in links for number in sockets):
            return int(name)
    raise LookupError(f"process {pid} has no collector")


class Test(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="pymalloc-run-test-")
        self.addCleanup(folder.cleanup)
        self.folder = os.path.realpath(folder.name)
        self.library = os.path.join(self.folder, "lib/libpymalloc.so.0")
        self.program = os.path.join(self.folder, "bin/pymalloc-run")
        for name in ("bin", "lib"):
            os.mkdir(os.path.join(self.folder, name))
        os.symlink(LIBRARY, self.library)
        shutil.copy(os.path.join(ROOT, "scripts/pymalloc"), self.path("bin/pymalloc"))
        os.symlink("pymalloc", self.program)
        shutil.copytree(PARTS, os.path.join(self.folder, "share/pymalloc/pymalloc-parts"))
        for name in ("heapmap", "heapmap-page"):
            os.symlink(os.path.join(ROOT, "scripts", name), os.path.join(self.folder, "share/pymalloc", name))

    def path(self, name):
        return os.path.join(self.folder, name)

    def write(self, name, content, mode=0o755):
        """A file in the test's folder; gives its path."""
        path = self.path(name)
        with open(path, "wb") as file:
            file.write(content if isinstance(content, bytes) else content.encode())
        os.chmod(path, mode)
        return path

    def read(self, name):
        with open(self.path(name), encoding="utf-8") as file:
            return file.read()

    def wait_for(self, condition):
        end = time.monotonic() + LIMIT
        while not condition():
            self.assertLess(time.monotonic(), end, "it did not come to that")
            time.sleep(0.01)

    def start(self, *arguments, **more):
        more = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, **more}
        return subprocess.Popen([self.program, *arguments], **more)

    def run_it(self, *arguments, **more):
        """Runs it to its end: what subprocess.run gives."""
        process = self.start(*arguments, **more)
        try:
            out, err = process.communicate(timeout=LIMIT)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
        return subprocess.CompletedProcess(arguments, process.returncode, out, err)

    def output(self, *arguments, **more):
        """What it writes to stdout; it must end well and say nothing."""
        done = self.run_it(*arguments, **more)
        self.assertEqual((done.returncode, done.stderr), (0, ""), done)
        return done.stdout
