"""The wheel: what is in it, that it comes out the same twice, and that it works in a fresh virtual environment as it would for a stranger."""

import base64
import csv
import email
import hashlib
import io
import os
import re
import shutil
import stat
import subprocess
import unittest
import zipfile

import making
from making import LIMIT, ROOT, build, each, installed, listed, newest, output, run, wheel

def tearDownModule():
    making.clear()


class Contents(unittest.TestCase):
    def expected(self):
        tools = {"heapmap"}
        for part in ("pymalloc-parts", "heapmap-page"):
            tools |= {f"{part}/{name}" for name in os.listdir(os.path.join(ROOT, "scripts", part)) if name != "__pycache__"}
        modules = ("__init__.py", "__main__.py", "_command.py", "_metrics.py", "py.typed", "libpymalloc.so", "libpymalloc-deepbind.so", "pymalloc-watch")
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
        self.assertRegex(os.path.basename(wheel()), rf"\Apymalloc-{re.escape(version)}-py3-none-[\w.]*linux[\w.]*\.whl\Z")
        with zipfile.ZipFile(wheel()) as archive:
            about = email.message_from_bytes(archive.read(f"pymalloc-{version}.dist-info/METADATA"))
            tags = email.message_from_bytes(archive.read(f"pymalloc-{version}.dist-info/WHEEL"))
        self.assertEqual((about["Name"], about["Version"], about["Requires-Python"], about["License-Expression"]), ("pymalloc", version, ">=3.8", "MIT OR Apache-2.0"))
        # It needs no other package; only what is asked for by name does.
        needed = about.get_all("Requires-Dist")
        self.assertEqual([line.split("extra == ")[1].strip("'\"") for line in needed], about.get_all("Provides-Extra"))
        named = os.path.basename(wheel())[:-4].split("-", 2)[2]
        python, abi, platforms = named.split("-")
        self.assertEqual(tags["Root-Is-Purelib"], "false")
        self.assertEqual(sorted(tags.get_all("Tag")), sorted(f"{python}-{abi}-{platform}" for platform in platforms.split(".")))

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
        page = os.path.join(making.folder(), "page.html")
        done = run(f"{place}/bin/pymalloc", "run", "--stats", "--heapmap", page, f"{place}/bin/python", "-c", "kept = [bytes(500) for _ in range(1000)]")
        self.assertEqual(done.returncode, 0)
        self.assertIn("pymalloc: statistics of process", done.stderr)
        self.assertTrue(os.path.exists(page))

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
