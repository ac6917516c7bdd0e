"""What `heapmap` does with files that are not as they should be, and with output that cannot be written: one clear line, nothing lost."""

import json
import os
import unittest

import drawing
import synthetic

WHOLE = synthetic.make_lines(2)[0]


def changed(**fields):
    return json.dumps(dict(json.loads(WHOLE), **fields)) + "\n"


def broken_arena(**fields):
    snapshot = json.loads(WHOLE)
    snapshot["arenas"][0].update(fields)
    return json.dumps(snapshot) + "\n"


class Input(drawing.InDirectory):
    def draw_lines(self, text, status=0):
        path = self.write("in.jsonl", text)
        problems = self.heapmap(path, "-o", self.path("out.html"), status=status)
        return [problem.replace(path, "FILE") for problem in problems]

    def test_a_line_cut_short_is_left_out(self):
        self.assertEqual(self.draw_lines(WHOLE + WHOLE[: len(WHOLE) // 2]), ["FILE: line 2 is cut short; it is left out"])
        page = drawing.Page(self.read("out.html"))
        self.assertEqual(len(page.processes[0]["times"]), 1)

    def test_lines_that_are_no_snapshot_are_named_and_left_out(self):
        first_pool = json.loads(WHOLE)["arenas"][0]["pools"][0]
        bad = (
            "what?\n", "[1, 2]\n", "null\n", "{}\n", "\udcff\n".encode("utf-8", "surrogateescape").decode("latin-1"), "[" * 100_000 + "\n",
            changed(arenas=3), changed(time="now"), WHOLE.replace('"time":', '"time":NaN,"x":', 1), changed(page=0), changed(classes=[]), changed(totals={}),
            broken_arena(resident="00"), broken_arena(resident="xyz"), broken_arena(at=7), broken_arena(pools=[[1, 200, 0, 0, 0, ""]]),
            broken_arena(pools=[[63, 100, 1, 0, 0, ""]]), broken_arena(pools=[[*first_pool[:5], "999999a"]]),
            broken_arena(pools=[[1, 1, 70_000, 0, 0, ""]]), broken_arena(large=[[60, 9, 5]]), broken_arena(pools=[[-1, 1, 0, 0, 0, ""]]),
        )
        expected = [f"FILE: line {number} is no snapshot; it is left out" for number in range(1, len(bad) + 1)]
        self.assertEqual(self.draw_lines("".join(bad) + WHOLE), expected)

    def test_an_unknown_format_is_named(self):
        expected = ["FILE: line 1 is of another format than 1, the one that is known; it is left out", "FILE: no snapshot in it"]
        self.assertEqual(self.draw_lines(changed(format=2), status=1), expected)

    def test_files_without_a_snapshot(self):
        self.assertEqual(self.draw_lines("", status=1), ["FILE: no snapshot in it"])
        self.assertEqual(self.draw_lines("\n\n", status=1), ["FILE: no snapshot in it"])
        self.assertEqual(self.draw_lines("#!/bin/sh\n", status=1)[-1], "FILE: no snapshot in it")
        self.assertFalse(os.path.exists(self.path("out.html")))
        for path, why in ((self.path("missing"), "No such file or directory"), (self.directory, "Is a directory")):
            self.assertEqual(self.heapmap(path, status=1), [f"{path}: {why}"])

    def test_output_that_cannot_be_written(self):
        path = self.write("in.jsonl", WHOLE)
        nowhere = self.path("no/such/page.html")
        self.assertEqual(self.heapmap(path, "-o", nowhere, status=1), [f"{nowhere}: No such file or directory"])
        self.assertEqual(self.heapmap(path, "-o", self.directory, status=1), [f"{self.directory}: Is a directory"])
        self.assertEqual(self.heapmap(path, "-o", "/dev/full", status=1), ["/dev/full: No space left on device"])
        self.assertEqual(os.listdir(self.directory), ["in.jsonl"])

    def test_a_failed_write_leaves_the_old_page(self):
        path = self.write("in.jsonl", WHOLE)
        self.write("page.html", "old")
        shell = f"ulimit -f 1; trap '' XFSZ; exec {drawing.sys.executable} -B {drawing.COMMAND} {path} -o {self.path('page.html')}"
        result = drawing.subprocess.run(["sh", "-c", shell], stderr=drawing.subprocess.PIPE, text=True, timeout=60, check=False)
        self.assertEqual((result.returncode, result.stderr), (1, f"heapmap: {self.path('page.html')}: File too large\n"))
        self.assertEqual(self.read("page.html"), "old")
        self.assertEqual(sorted(os.listdir(self.directory)), ["in.jsonl", "page.html"])

    def test_the_page_lies_beside_its_snapshots(self):
        self.heapmap(self.write("in.jsonl", WHOLE))
        self.assertEqual(len(drawing.Page(self.read("in.html")).processes), 1)

    def test_bad_arguments(self):
        self.assertIn("no list of numbers", self.heapmap("x", "--snapshots", "one", status=2)[-1])
        self.heapmap(status=2)


if __name__ == "__main__":
    unittest.main()
