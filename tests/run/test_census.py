"""`pymalloc types` and `pymalloc why`: what they say of a running Python against what that says of itself, on every CPython found."""

import json
import os
import subprocess
import unittest

import installed
import looking

# Objects of fewer are too few for shares of them.
MANY = 1000
# Types of which sys.getsizeof tells all bytes: not those of a class with a dictionary, which has them elsewhere.
SIZED = {"__main__.Slotted", "__main__.Referred", "list", "set", "float", "bytearray", "collections.deque", "array.array"}
# What a size class rounds blocks up by, 24 bytes to 32 at most, and what the interpreter has of such types itself.
ROUNDING = 1.36


class Census(looking.Test):
    def test_objects_by_type(self):
        found = looking.found()
        self.assertTrue(found)
        for python in found:
            with self.subTest(python):
                self.compare(python)

    def compare(self, python):
        process, line = self.started(python, os.path.join(looking.HERE, "census_app.py"))
        own = json.loads(line)
        seen = json.loads(self.told("types", "--json", process.pid))
        rows = {row["name"]: row for row in seen["types"]}
        many = {name: counted for name, counted in own.items() if counted[0] >= MANY}
        self.assertLessEqual({"__main__.Plain", "__main__.Slotted", "__main__.Referred", "__main__.Text", "list", "set", "function", "float", "bytes"}, set(many))
        for name, (count, size) in many.items():
            row = rows[name]
            # The collector does not know the tuples and dictionaries that hold nothing it would have to know, and this program not all bytes.
            all_known = name not in ("tuple", "dict", "bytes")
            self.assertGreaterEqual(row["objects"], count * 0.99, (name, count, row))
            if all_known:
                self.assertLessEqual(row["objects"], count * 1.01 + 100, (name, count, row))
            if name in SIZED:
                self.assertTrue(size * 0.98 <= row["bytes"] + row["held_bytes"] <= size * ROUNDING, (name, size, row))
        total = seen["total"]
        self.assertEqual(total["objects"], sum(row["objects"] for row in seen["types"]))
        # Nearly all of a Python program is objects and what these hold.
        known = total["bytes"] + total["held_bytes"] - seen["unknown"]["held_bytes"] - seen["spare"]["held_bytes"]
        self.assertGreater(known / (total["bytes"] + total["held_bytes"]), 0.9)
        self.assertLess(total["pinned_bytes"], seen["page_floor_bytes"])
        text = self.told("types", "--most", 3, process.pid)
        self.assertRegex(text, rf"\Aprocess {process.pid}: .*census_app\.py\ntype +objects +bytes +data held +pinned\n")
        self.assertEqual(len(text.splitlines()), 2 + 3 + 4)

    def test_verdicts(self):
        found = looking.found()
        for python in {found[0], found[-1]}:
            for what, verdict, words in (
                ("leak", "growing", "It looks like a leak"),
                ("fragmented", "fragmented", "It is fragmentation"),
                ("neither", "in use", "Neither a leak nor fragmentation"),
            ):
                with self.subTest(python=python, what=what):
                    process, _ = self.started(python, looking.PLANTED, what)
                    told = json.loads(self.told("why", "--for", 3, "--json", process.pid))
                    self.assertEqual(told["verdict"], verdict, told)
                    parts = told["parts"]
                    sums = sum(parts[f"{name}_bytes"] for name in ("in_use", "pinned", "free", "files", "other"))
                    self.assertTrue(0.9 < sums / parts["resident_bytes"] < 1.1, parts)
                    if what == "leak":
                        self.assertIn("__main__.Session", [row["name"] for row in told["grown"][:3]])
                    if what == "fragmented":
                        pins = sorted(told["types"], key=lambda row: -row["pinned_bytes"])
                        self.assertIn("__main__.Session", [row["name"] for row in pins[:5]])
                    self.assertIn(words, self.told("why", "--for", 1, process.pid))
                    if python == found[-1]:
                        self.watched(process, words)

    def watched(self, process, words):
        """The live view's text has the verdict below its head: after one look without a word on growth, later the same as `why`."""
        first = self.told("watch", "--once", process.pid).splitlines()
        self.assertRegex(first[1], r"\A(No fragmentation|It is fragmentation|It is not the heap): ")
        self.assertIn("page floor", " ".join(first[2:5]))
        later = self.told("watch", "--count", 14, "--interval", 0.5, process.pid).split("\n\n")[-1].splitlines()
        self.assertTrue(later[1].startswith(words), later[:3])

    def test_a_program_without_objects(self):
        for tool in ("/bin/cat", "/usr/bin/cat"):
            if os.path.exists(tool):
                break
        environment = {**os.environ, "LD_PRELOAD": installed.LIBRARY}
        with subprocess.Popen([tool], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            process.stdin.write(b"ready\n")
            process.stdin.flush()
            self.assertEqual(process.stdout.readline(), b"ready\n")
            seen = json.loads(self.told("types", "--json", process.pid))
            self.assertEqual((seen["types"], seen["total"]["objects"]), ([], 0))
            self.assertGreater(seen["unknown"]["held_bytes"], 0)
            process.stdin.close()


if __name__ == "__main__":
    unittest.main()
