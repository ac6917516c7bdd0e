"""What the tests of `scripts/heapmap` share: the command run as a process, and a page taken apart again.

Owns: the other side of `packing.py`, written from the layout it states and not from its code, as the page's own `data.js` is.
"""

import base64
import gzip
import json
import os
import re
import struct
import subprocess
import sys
import tempfile
import unittest

import synthetic

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
COMMAND = os.path.join(ROOT, "scripts", "heapmap")
sys.path.insert(0, os.path.join(ROOT, "scripts", "heapmap-page"))
DATA = re.compile(r'<script type="text/plain" id="data(\d+)">([A-Za-z0-9+/=]*)</script>')


class InDirectory(unittest.TestCase):
    """A test with a directory of its own."""

    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = directory.name

    def path(self, name):
        return os.path.join(self.directory, name)

    def write(self, name, text):
        with open(self.path(name), "w", encoding="utf-8") as file:
            file.write(text)
        return self.path(name)

    def read(self, name):
        with open(self.path(name), encoding="utf-8") as file:
            return file.read()

    def heapmap(self, *arguments, status=0, **more):
        """Runs the command, and returns the lines on stderr without its name."""
        command = [sys.executable, "-B", COMMAND, *arguments]
        result = subprocess.run(command, stderr=subprocess.PIPE, text=True, timeout=60, check=False, **more)
        self.assertEqual(result.returncode, status, result.stderr)
        self.assertNotIn("Traceback", result.stderr)
        return [line.split("heapmap: ", 1)[-1] for line in result.stderr.splitlines()]

    def draw(self, lines, *arguments):
        """The page of these lines, taken apart."""
        path = self.write("snapshots.jsonl", "".join(lines))
        self.assertEqual(self.heapmap(path, "-o", self.path("page.html"), *arguments), [])
        return Page(self.read("page.html"))


class Page:
    """The index of a page's processes, and its chunks."""

    def __init__(self, html):
        self.html = html
        self.data = {int(number): gzip.decompress(base64.b64decode(text)) for number, text in DATA.findall(html)}
        self.processes = json.loads(self.data[0])

    def snapshot(self, process=0, number=0):
        """A snapshot's head, and its columns by name."""
        about = self.processes[process]
        data = self.data[about["cells"][number]]
        long = int.from_bytes(data[:4], "little")
        head, at = json.loads(data[4 : 4 + long]), 4 + long
        arenas, pools, large = head["arenas"], head["pools"], head["large"]
        if about["together"] == 1:
            layout = [("base", "I", arenas), ("pools_in", "B", arenas), ("large_in", "B", arenas), ("resident", "B", arenas * synthetic.PAGES // 8)]
            layout += [("slot", "B", pools), ("class", "B", pools), ("in_use", "H", pools), ("free", "H", pools), ("untouched", "H", pools)]
            layout += [("large_slot", "B", large), ("large_slots", "B", large), ("large_bytes", "I", large)]
        else:
            cells = -(-arenas * synthetic.SLOTS // about["together"])
            layout = [("base", "I", -(-arenas // max(about["together"] // synthetic.SLOTS, 1)))]
            layout += [(name, "B", cells) for name in ("class", "pools", "large", "used", "resident")]
        columns = {}
        for name, kind, count in layout:
            columns[name] = struct.unpack_from(f"<{count}{kind}", data, at)
            at += struct.calcsize(f"<{count}{kind}")
        assert at == len(data), "nothing is left behind the columns"
        return head, columns

    def runs(self, process=0, number=0):
        """The texts of all pools' runs of a snapshot, as they were in it."""
        data = self.data[self.processes[process]["blocks"][number]]
        texts, text, value, shift = [], [], 0, 0
        for byte in data:
            if byte == 0:
                texts.append("".join(text))
                text = []
                continue
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                text.append(f"{value // 3}{'afu'[value % 3]}")
                value = shift = 0
        return texts
