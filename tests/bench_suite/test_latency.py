"""Single calls: the program's figures come into the report's own table, as medians of the rounds, and into no mean of ratios."""

import copy
import os
import subprocess
import unittest

from fake import ROOT, InDirectory

from suite import report, report_content, report_markdown

CALLS, SHARES = report_content.CALLS, report_content.SHARES
NAMES = {"pymalloc": "pymalloc 1", "glibc": "glibc 2"}


def result():
    """Three rounds in which pymalloc's free takes 100, 900 and 200 ns in all shares, and all else 1,500."""
    frees = {"pymalloc": (100, 900, 200), "glibc": (1500, 1500, 1500)}
    runs = [
        {
            "workload": "latency", "group": "latency", "allocator": allocator, "round": number, "failure": None, "seconds": 1.0, "peak": 1 << 20,
            "faults": 1, "figures": {call: {share: frees[allocator][number - 1] if call == "free" else 1500 for share in SHARES} for call in CALLS},
        }
        for allocator in NAMES
        for number in (1, 2, 3)
    ]
    return {
        "format": 1, "started": None, "finished": None, "allocators": [{"key": key, "name": name} for key, name in NAMES.items()],
        "workloads": [{"key": "latency", "group": "latency", "title": "calls", "after": ""}], "runs": runs,
    }


class Latency(InDirectory):
    def test_the_program_reports_each_call_and_share_in_order(self):
        program = os.path.join(self.directory, "latency")
        subprocess.run(["cc", "-std=gnu11", "-O2", "-fno-builtin", "-pthread", f"{ROOT}/benches/c/latency.c", "-o", program], check=True)
        from suite import running

        figures = running._last_object(subprocess.run([program, "1"], capture_output=True, text=True, check=True).stdout)["figures"]
        self.assertEqual(tuple(figures), CALLS)
        for call, shares in figures.items():
            self.assertEqual(tuple(shares), SHARES, call)
            self.assertEqual(sorted(shares.values()), list(shares.values()), call)
            self.assertGreater(shares["median"], 0, call)

    def test_the_table_has_medians_with_units_and_marks_the_least(self):
        rows = {(call, share): cells for call, share, cells in report_content.Content(result()).call_rows()}
        self.assertEqual(len(rows), len(CALLS) * len(SHARES))
        ours, theirs = rows["free", "worst"]
        self.assertEqual((ours.text, ours.marks), ("200 ns", ("best",)))
        self.assertEqual((theirs.text, theirs.marks), ("1.5 us", ()))

    def test_page_and_markdown_show_it_and_no_mean_has_it(self):
        content = report_content.Content(result())
        self.assertEqual((content.groups, content.losses()), ([], []))
        self.assertIn("| free | median | **200 ns** | 1.5 us |", report_markdown.generated(content, None))
        path = os.path.join(self.directory, "report.html")
        report.write(result(), path)
        with open(path, encoding="utf-8") as file:
            page = file.read()
        self.assertEqual(page.count('id="latency"'), 1)
        self.assertIn("200 ns", page)

    def test_an_allocator_that_fails_is_told(self):
        broken = copy.deepcopy(result())
        for run in broken["runs"]:
            if run["allocator"] == "glibc":
                run.update(seconds=None, failure="killed by SIGSEGV")
                del run["figures"]
        content = report_content.Content(broken)
        self.assertEqual([cells[1].text for _, _, cells in content.call_rows()], ["crashed"] * len(CALLS) * len(SHARES))
        self.assertIn("Single calls", content.failure_lines()[0])


if __name__ == "__main__":
    unittest.main()
