"""The wheel: what is in it, that it comes out the same twice, and that it works in a fresh virtual environment as it would for a stranger.

Owns: the one wheel that all tests look at. PYMALLOC_WHEEL names it (`make test-wheels` does, for each of those that `make wheels` has built); without it one is
built for this machine, of what lies under target/, by the hatchling in target/venv. What must hold: nothing is fetched from anywhere.
"""

import base64
import csv
import email
import functools
import hashlib
import io
import os
import re
import shutil
import stat
import subprocess
import sys
import tempfile
import unittest
import urllib.request
import zipfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
TARGET = os.path.join(ROOT, os.environ.get("CARGO_TARGET_DIR", "target"))
VENV = os.path.join(ROOT, "target/venv")
LIMIT = 120
COMMANDS = ("pymalloc", "pymalloc-run", "pymalloc-watch", "pymalloc-heapmap")
SERVICE = (
    "import pymalloc\n"
    "def wsgi(environment, start):\n    start('200 OK', [])\n    return [str(pymalloc.enabled()).encode()]\n"
)

sys.path.insert(0, os.path.join(ROOT, "benches", "python"))
import pythons

# Nobody's settings but the tests' own.
for name in ("LD_PRELOAD", "PYTHONMALLOC", "PYMALLOC_CONF", "PYTHONPATH"):
    os.environ.pop(name, None)


def run(*command, **more):
    more = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "timeout": LIMIT, **more}
    return subprocess.run(command, **more)


def output(*command, **more):
    """What a command writes to stdout; it must end well."""
    done = run(*command, **more)
    if done.returncode:
        raise AssertionError(f"{command} ends with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout


def setUpModule():
    global folder
    folder = tempfile.mkdtemp(prefix="pymalloc-wheel-test-")


def tearDownModule():
    shutil.rmtree(folder)


def built(name):
    for place in ("release", "debug"):
        path = os.path.join(TARGET, place, name)
        if os.path.exists(path):
            return path
    raise unittest.SkipTest(f"not built: {name}")


@functools.lru_cache(maxsize=None)
def files():
    """The folder with what a wheel is made of, as `make wheel-files` lays it."""
    place = os.path.join(folder, "files")
    os.mkdir(place)
    library = os.environ.get("PYMALLOC_LIBRARY") or built("libpymalloc.so")
    for path, name in ((library, "libpymalloc.so"), (built("libpymalloc-deepbind.so"), None), (built("pymalloc-watch"), None)):
        subprocess.run(["install", "-s", "-m", "755", path, os.path.join(place, name or os.path.basename(path))], check=True)
    return place


def build(name):
    """Builds a wheel into a folder of this name; gives its path."""
    if not os.path.exists(os.path.join(VENV, "with-hatchling")):
        raise unittest.SkipTest("not installed: hatchling")
    place = os.path.join(folder, name)
    environment = {**os.environ, "PYMALLOC_WHEEL_FILES": files(), "PYTHONDONTWRITEBYTECODE": "1"}
    output(os.path.join(VENV, "bin/hatchling"), "build", "-t", "wheel", "-d", place, cwd=os.path.join(ROOT, "python"), env=environment)
    (path,) = os.listdir(place)
    return os.path.join(place, path)


@functools.lru_cache(maxsize=None)
def wheel():
    given = os.environ.get("PYMALLOC_WHEEL")
    return os.path.abspath(given) if given else build("wheel")


@functools.lru_cache(maxsize=None)
def installed(python):
    """A fresh virtual environment of a Python with the wheel in it; gives its folder, and what was there before."""
    place = os.path.join(folder, "venv of " + re.sub(r"\W", "-", python)).replace(" ", "-")
    output(python, "-m", "venv", place)
    before = listed(place)
    output(f"{place}/bin/python", "-m", "pip", "--disable-pip-version-check", "install", "--no-index", wheel())
    return place, before


def listed(place):
    return {os.path.join(where, name) for where, _, names in os.walk(place) for name in names if not where.endswith("__pycache__")}


def newest():
    return pythons.interpreters()[-1].path


def each():
    """The oldest and the newest; all of them where there is time (`make test-wheels`)."""
    found = [interpreter.path for interpreter in pythons.interpreters()]
    return found if os.environ.get("PYMALLOC_WHEEL") else sorted({found[0], found[-1]})


class Contents(unittest.TestCase):
    def expected(self):
        tools = {"heapmap"}
        for part in ("pymalloc-parts", "heapmap-page"):
            tools |= {f"{part}/{name}" for name in os.listdir(os.path.join(ROOT, "scripts", part)) if name != "__pycache__"}
        modules = ("__init__.py", "__main__.py", "_command.py", "py.typed", "libpymalloc.so", "libpymalloc-deepbind.so", "pymalloc-watch")
        about = ("METADATA", "WHEEL", "RECORD", "entry_points.txt", "licenses/LICENSE-MIT", "licenses/LICENSE-APACHE")
        return {f"pymalloc/tools/{name}" for name in tools} | {f"pymalloc/{name}" for name in modules} | {f"@/{name}" for name in about}

    def test_all_is_there_and_nothing_else(self):
        with zipfile.ZipFile(wheel()) as archive:
            names = {re.sub(r"\Apymalloc-[\d.]+\.dist-info/", "@/", name) for name in archive.namelist()}
            modes = {entry.filename: stat.filemode(entry.external_attr >> 16)[1:] for entry in archive.infolist()}
        boms = {name for name in names if name.startswith("@/sboms/")}
        self.assertEqual(names - boms, self.expected())
        if os.environ.get("PYMALLOC_WHEEL"):
            programs = ("libpymalloc", "libpymalloc-deepbind", "pymalloc-watch")
            self.assertEqual(boms, {f"@/sboms/{name}.cdx.json" for name in programs})
        executable = {name for name, mode in modes.items() if mode == "rwxr-xr-x"}
        self.assertEqual(executable - {"pymalloc/tools/heapmap"}, {f"pymalloc/{name}" for name in ("libpymalloc.so", "libpymalloc-deepbind.so", "pymalloc-watch")})
        self.assertLessEqual(set(modes.values()), {"rw-r--r--", "rwxr-xr-x"})

    def test_it_says_what_it_is(self):
        with open(os.path.join(ROOT, "Cargo.toml"), encoding="utf-8") as file:
            version = re.search(r'(?m)^version = "(.*)"', file.read())[1]
        self.assertRegex(os.path.basename(wheel()), rf"\Apymalloc-{re.escape(version)}-py3-none-\w*linux\w*\.whl\Z")
        with zipfile.ZipFile(wheel()) as archive:
            about = email.message_from_bytes(archive.read(f"pymalloc-{version}.dist-info/METADATA"))
            tags = email.message_from_bytes(archive.read(f"pymalloc-{version}.dist-info/WHEEL"))
        self.assertEqual((about["Name"], about["Version"], about["Requires-Python"], about["License-Expression"]), ("pymalloc", version, ">=3.8", "MIT OR Apache-2.0"))
        self.assertIsNone(about["Requires-Dist"])
        self.assertEqual((tags["Root-Is-Purelib"], tags["Tag"]), ("false", os.path.basename(wheel())[:-4].split("-", 2)[2]))

    def test_its_list_of_files_is_right(self):
        with zipfile.ZipFile(wheel()) as archive:
            (record,) = [name for name in archive.namelist() if name.endswith("/RECORD")]
            rows = list(csv.reader(io.StringIO(archive.read(record).decode())))
            self.assertEqual({row[0] for row in rows}, set(archive.namelist()))
            for name, digest, size in rows:
                if name != record:
                    content = archive.read(name)
                    right = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
                    self.assertEqual((digest, int(size)), (f"sha256={right}", len(content)))

    def test_no_path_of_the_machine_is_in_it(self):
        with zipfile.ZipFile(wheel()) as archive:
            for name in archive.namelist():
                # What cargo builds for tests has paths for its debugger, which `make wheels` takes out.
                if name != "pymalloc/pymalloc-watch" or os.environ.get("PYMALLOC_WHEEL"):
                    self.assertNotIn(os.path.expanduser("~").encode() + b"/.", archive.read(name), name)
                    self.assertNotIn(ROOT.encode(), archive.read(name), name)

    @unittest.skipIf(os.environ.get("PYMALLOC_WHEEL"), "scripts/wheels compares them")
    def test_it_comes_out_the_same_twice(self):
        with open(wheel(), "rb") as first, open(build("again"), "rb") as second:
            self.assertEqual(first.read(), second.read())


class Installed(unittest.TestCase):
    def test_each_command_starts(self):
        for python in each():
            place, _ = installed(python)
            library = os.path.join(output(f"{place}/bin/python", "-c", "import pymalloc; print(pymalloc.__path__[0])").strip(), "libpymalloc.so")
            for command in ("pymalloc", "pymalloc-run"):
                self.assertRegex(output(f"{place}/bin/{command}", "--version"), rf"\Apymalloc [\d.]+ \({re.escape(library)}\)\n\Z")
            self.assertEqual(output(f"{place}/bin/pymalloc-watch", "--version"), output(f"{place}/bin/pymalloc", "watch", "--version"))
            enabled = "import pymalloc; print(pymalloc.enabled(), pymalloc.stats()['pid'])"
            for command in (["bin/pymalloc", "run", "--", f"{place}/bin/python"], ["bin/python", "-m", "pymalloc"]):
                process = subprocess.Popen([f"{place}/{command[0]}", *command[1:], "-c", enabled], stdout=subprocess.PIPE, text=True)
                self.assertEqual(process.communicate(timeout=LIMIT)[0], f"True {process.pid}\n")
            self.assertIn("Python's objects in 1 of 1; problems: 0", output(f"{place}/bin/pymalloc", "doctor"))

    def test_figures_and_pages(self):
        place, _ = installed(newest())
        page = os.path.join(folder, "page.html")
        done = run(f"{place}/bin/pymalloc", "run", "--stats", "--heapmap", page, f"{place}/bin/python", "-c", "kept = [bytes(500) for _ in range(1000)]")
        self.assertEqual(done.returncode, 0)
        self.assertIn("pymalloc: statistics of process", done.stderr)
        self.assertTrue(os.path.exists(page))

    def test_a_server_and_its_workers(self):
        if not os.path.exists(os.path.join(VENV, "with-servers")):
            self.skipTest("not installed: gunicorn")
        place, _ = installed(newest())
        with open(os.path.join(folder, "service.py"), "w", encoding="utf-8") as file:
            file.write(SERVICE)
        environment = {**os.environ, "PYTHONPATH": output(f"{VENV}/bin/python", "-c", "import gunicorn; print(gunicorn.__path__[0][:-9])").strip()}
        command = [f"{place}/bin/python", "-m", "pymalloc", "-m", "gunicorn", "--workers", "2", "--bind", "127.0.0.1:0", "service:wsgi"]
        process = subprocess.Popen(command, cwd=folder, env=environment, stderr=subprocess.PIPE, text=True)
        self.addCleanup(process.communicate)
        self.addCleanup(process.kill)
        address, workers = None, 0
        while not address or workers < 2:
            line = process.stderr.readline()
            self.assertTrue(line)
            address = address or (re.search(r"Listening at: (http://\S+)", line) or [None, None])[1]
            workers += "Booting worker" in line
        with urllib.request.urlopen(address, timeout=LIMIT) as answer:
            self.assertEqual(answer.read(), b"True")
        told = output(f"{place}/bin/pymalloc", "doctor", str(process.pid))
        self.assertIn("3 processes, 3 on pymalloc; Python's objects in 3 of 3; problems: 0", told)
        process.terminate()
        self.assertEqual(process.wait(LIMIT), 0)

    def test_nothing_is_left_of_it(self):
        place, before = installed(newest())
        output(f"{place}/bin/pymalloc", "heapmap", "--help")
        output(f"{place}/bin/python", "-m", "pip", "--disable-pip-version-check", "uninstall", "--yes", "pymalloc")
        self.assertEqual({path for path in listed(place) if "pymalloc" in os.path.relpath(path, place)}, set())
        self.assertEqual(listed(place), before)
        installed.cache_clear()
        shutil.rmtree(place)


if __name__ == "__main__":
    unittest.main()
