"""The page's verdict on made-up courses, by its own script in node."""

import json
import os
import re
import shutil
import subprocess
import unittest


NODE = shutil.which("node")
PAGE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../scripts/heapmap-page")
GROWTH = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../scripts/pymalloc-parts/growth.py")
WHY = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../watch/src/why.rs")
MIB = 1 << 20


def text_of(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


class Verdict(unittest.TestCase):
    @unittest.skipUnless(NODE, "not installed: node")
    def told(self, course, resident, heap, floor, time=None):
        """The verdict of a course of [time, in use] in MiB, at its end or at a time."""
        line = [[at, resident * MIB, int(used * MIB), None if floor is None else floor * MIB] for at, used in course]
        time = line[-1][0] if time is None else time
        used = [point[2] for point in line if point[0] <= time][-1]
        head = {"time": time, "heap": heap * MIB, "floor": None if floor is None else floor * MIB, "totals": {"resident": resident * MIB, "bytes_in_use": used}}
        # The page's own window is asked whether it is narrow.
        program = "globalThis.window = { matchMedia: () => ({ matches: false, addEventListener() {} }) };\n"
        program += text_of(os.path.join(PAGE, "format.js")) + text_of(os.path.join(PAGE, "verdict.js"))
        program += f"\nconsole.log(verdict({json.dumps(head)}, {json.dumps(line)}));"
        done = subprocess.run([NODE, "-e", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=60)
        self.assertEqual(done.stderr, "")
        return done.stdout.strip()

    def test_a_leak(self):
        course = [(10 * number, 50 + number) for number in range(40)]
        self.assertEqual(self.told(course, 120, 100, 95), "It looks like a leak: what is in use grows by 6.00 MiB a minute.")

    def test_a_start_is_no_leak(self):
        # It grew until it had what it needed; seen from the end that is past.
        course = [(10 * number, min(50 + 5 * number, 80)) for number in range(40)]
        self.assertRegex(self.told(course, 120, 100, 85), r"\ANeither a leak nor fragmentation: 67 % of what is resident is in use")
        self.assertRegex(self.told(course, 120, 100, 85, time=60), r"\ANo fragmentation: .* too few snapshots")

    def test_fragmentation(self):
        course = [(10 * number, 20 + number % 3) for number in range(40)]
        told = self.told(course, 120, 100, 90)
        self.assertEqual(told, "It is fragmentation: 58 % of what is resident, 70.0 MiB, are parts of pages that stay for the few blocks in use on them.")

    def test_what_is_not_the_heap(self):
        course = [(10 * number, 20) for number in range(40)]
        self.assertRegex(self.told(course, 120, 25, 22), r"\AIt is not the heap: 79 % of what is resident belongs to files")

    def test_without_block_states(self):
        course = [(10 * number, 80) for number in range(40)]
        self.assertEqual(self.told(course, 120, 100, None), "67 % of what is resident is in use. Whether the rest is pinned is not in these snapshots.")

    def test_the_constants_are_those_of_why(self):
        script, source = text_of(os.path.join(PAGE, "verdict.js")), text_of(WHY)
        for name in ("CERTAINTY", "DOUBLES_WITHIN", "LEAST_GROWTH", "PINNED_PART", "LEAST_PINNED"):
            (own,) = re.findall(rf"const {name} = (.*);", script)
            (there,) = re.findall(rf"const {name}: \w+ = (.*);", source)
            self.assertEqual(eval(own), eval(there), name)

    def test_the_constants_of_run_are_too(self):
        script, source = text_of(GROWTH), text_of(WHY)
        for name in ("CERTAINTY", "DOUBLES_WITHIN", "LEAST_GROWTH"):
            (own,) = re.findall(rf"^{name} = (.*)$", script, re.MULTILINE)
            (there,) = re.findall(rf"const {name}: \w+ = (.*);", source)
            self.assertEqual(eval(own), eval(there), name)


if __name__ == "__main__":
    unittest.main()
