"""What the report must do with every result: the page is whole and stands alone, text is escaped, nothing that lacks stops it.

The results are made here, with figures that say beforehand who wins, who loses and who fails.
"""

import contextlib
import copy
import html.parser
import io
import json
import os
import re
import sys
import tempfile
import unittest
import xml.etree.ElementTree

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "..", "benches"))

from suite import report, report_content, report_markdown, report_plots
from suite.places import Stop

MIB = report_content.MIB
VOID = {"meta", "br", "link", "img", "hr", "input"}
ALLOCATORS = {
    "glibc": "glibc 2.36", "pymalloc": "pymalloc 0.1.0", "own": "CPython's own", "fast": "fast 1.0 <b>", "worst": "worst 2.0",
}
# Time and peak memory against glibc's; worst crashes in everything.
TIMES = {"pymalloc": 0.9, "own": 0.95, "glibc": 1, "fast": 0.7}
PEAKS = {"pymalloc": 0.8, "own": 0.9, "glibc": 1, "fast": 1.5}
KEPT = {"pymalloc": 10, "own": 60, "glibc": 80, "fast": 90}
TITLE = 'less <than> & "so" | `on` *and* on_and_on'


def run(workload, group, allocator, number):
    row = {"workload": workload, "group": group, "allocator": allocator, "round": number, "failure": None}
    if allocator == "worst":
        return {**row, "seconds": None, "peak": None, "faults": None, "failure": "killed by SIGSEGV"}
    # fast is the faster one in the first workload of a group only.
    time = 1.2 if allocator == "fast" and not workload.endswith("0") else TIMES[allocator]
    drift = 1 + number / 100
    row.update(seconds=0.2 * time * drift, peak=int(50 * MIB * PEAKS[allocator]), faults=int(1000 * PEAKS[allocator] + number))
    if group == "memory":
        kept = (4 + KEPT[allocator]) * MIB
        row["figures"] = {
            "before": 4 * MIB, "live": 1 * MIB, "floor": 2 * MIB, "peak": 100 * MIB, "at_once": kept, "idle": kept,
            "after_work": kept, "extra_figure": 1.5,
        }
        row["series"] = [[0, 4 * MIB], [0.5, 100 * MIB], [1, kept]]
    return row


def whole(rounds=5, groups=("c1", "cn", "py3.13", "py3.9", "memory")):
    workloads = [
        {"key": f"{group.replace('.', '')}-{number}", "group": group, "title": TITLE, "after": "Somebody, 1998"}
        for group in groups
        for number in range(2)
    ]
    runs = [
        run(workload["key"], workload["group"], allocator, number)
        for workload in workloads
        for number in range(1, rounds + 1)
        for allocator in ALLOCATORS
        if allocator != "own" or workload["group"].startswith(("py", "memory"))
    ]
    return {
        "format": 1, "started": "2025-01-02T03:04:05+00:00", "finished": "2025-01-02T03:24:05Z", "quick": False,
        "machine": {"cpu": "A <CPU>", "cores": 2, "memory": 8 << 30, "kernel": "6.1", "libc": "glibc 2.36"},
        "commit": "abc1234", "pythons": {"3.13": "3.13.0", "3.9": "3.9.18"},
        "allocators": [{"key": key, "name": name} for key, name in ALLOCATORS.items()],
        "missing": [{"key": "absent", "reason": "it is <not> installed"}], "workloads": workloads, "runs": runs,
    }


def only(result, keep):
    return {**result, "runs": [row for row in result["runs"] if keep(row)]}


def odd_results():
    """By name, results that lack something."""
    some = whole(groups=["c1", "py3.13", "memory"])
    bare = only(some, lambda row: row["allocator"] not in ("glibc", "own"))
    figureless = copy.deepcopy(some)
    for row in figureless["runs"]:
        row.pop("figures", None)
        row.pop("series", None)
    one = whole(rounds=1, groups=["c1"])
    one.update(finished=None, commit=None, machine={}, missing=[])
    one.update(allocators=one["allocators"][1:2], workloads=one["workloads"][:1])
    one = only(one, lambda row: row["workload"] == one["workloads"][0]["key"] and row["allocator"] == "pymalloc")
    broken_baseline = copy.deepcopy(some)
    for row in broken_baseline["runs"]:
        if row["allocator"] == "glibc":
            row.update(seconds=None, peak=None, faults=None, failure="no result within 60 s")
    return {
        "nothing": {**some, "runs": [], "finished": None},
        "one workload, one allocator, one round": one,
        "no baseline": bare,
        "no figures of memory": figureless,
        "a baseline that hangs": broken_baseline,
        "only failures": only(some, lambda row: row["allocator"] == "worst"),
        "a group that nobody knows": whole(groups=["c1", "gpu"]),
        "an allocator of all failures alone with pymalloc": only(some, lambda row: row["allocator"] in ("worst", "pymalloc")),
    }


class Checked(html.parser.HTMLParser):
    """Parses a page strictly: every element is closed where it should be."""

    def __init__(self, page):
        super().__init__()
        self.open, self.ids, self.loads, self.text, self.links = [], [], [], [], []
        self.feed(page)
        self.close()
        if self.open:
            raise AssertionError(f"never closed: {self.open}")

    def handle_starttag(self, tag, attributes):
        self.handle_startendtag(tag, attributes)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        for name, value in attributes:
            if name == "id":
                self.ids.append(value)
            elif name in ("src", "href", "srcset", "action", "data", "poster", "xlink:href"):
                (self.links if tag in ("a", "use") else self.loads).append(value)

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            raise AssertionError(f"</{tag}> at {self.getpos()} closes something else")

    def handle_data(self, data):
        self.text.append(data)


class ReportTest(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = directory.name

    def path(self, name):
        return os.path.join(self.directory, name)

    def page(self, result):
        report.write(result, self.path("report.html"))
        return self.read("report.html")

    def read(self, name):
        with open(self.path(name), encoding="utf-8") as file:
            return file.read()

    def markdown(self, result):
        report.write_page(result, self.path("benchmarks.md"), self.path("benchmarks.svg"))
        return self.read("benchmarks.md")

    def test_page_is_whole_and_stands_alone(self):
        result = whole()
        page = self.page(result)
        checked = Checked(page)
        text = "".join(checked.text)
        for workload in result["workloads"]:
            self.assertIn(workload["key"], text)
        for allocator in result["allocators"]:
            self.assertIn(allocator["name"], text)
        self.assertEqual(checked.loads, [])
        self.assertEqual([link for link in checked.links if not link.startswith("#")], [])
        self.assertEqual({link[1:] for link in checked.links} - set(checked.ids), set())
        self.assertEqual(len(checked.ids), len(set(checked.ids)), "an id twice")
        self.assertNotRegex(page, r"url\((?!#)|@import|https?://(?!www\.w3\.org/)")
        for said in ("A <CPU>", "abc1234", "2 January 2025, 03:04", "20 minutes", "it is <not> installed", "after Somebody, 1998"):
            self.assertIn(said, text)
        self.assertIn("extra figure 1.5", text)

    def test_page_shows_every_table_without_scripts(self):
        page = self.page(whole(groups=["c1"]))
        style, body = page.split("</style>")
        self.assertEqual(re.findall(r'data-metric="(\w+)"', body), ["seconds", "peak", "faults"])
        # What hides one needs a class that only the script sets.
        for rule in re.findall(r"[^{}]*\{[^{}]*display: none[^{}]*\}", style):
            if "metric" in rule:
                self.assertIn(".switched", rule)
        markup, script = body.split("<script>")
        self.assertNotIn("switched", markup)
        self.assertIn('classList.add("switched")', script)

    def test_text_of_a_result_is_escaped(self):
        result = whole()
        page = self.page(result)
        self.assertIn("less &lt;than&gt; &amp;", page)
        self.assertNotIn("<than>", page)
        self.assertNotIn("<b>", page)
        self.assertNotIn("<CPU>", page)
        text = self.markdown(result)
        self.assertIn("fast 1.0 &lt;b&gt;", text)
        self.assertNotIn("&amp;lt;", text)
        self.assertEqual(report_markdown.text("a|b\n*c*"), "a\\|b \\*c\\*")

    def test_odd_results(self):
        for name, result in odd_results().items():
            with self.subTest(name):
                before = copy.deepcopy(result)
                text = "".join(Checked(self.page(result)).text)
                self.assertIn("pymalloc beside its peers", text)
                self.assertNotRegex(text.split("How to read this")[1], r"\bnan\b|\bNone\b")
                generated = self.markdown(result)
                self.assertNotRegex(generated, r"\bnan\b|\bNone\b")
                self.assertEqual(result, before, "the result was changed")

    def test_what_is_lacking_is_said(self):
        def said(name):
            return " ".join(report_content.Content(odd_results()[name]).warnings())

        self.assertIn("Nothing was measured", said("nothing"))
        self.assertIn("interrupted", said("one workload, one allocator, one round"))
        self.assertIn("One round only", said("one workload, one allocator, one round"))
        self.assertIn("The baseline did not run", said("no baseline"))
        self.assertIn("absent is not compared: it is <not> installed.", said("no baseline"))
        self.assertNotIn("interrupted", said("no baseline"))
        self.assertIn("A quick run", " ".join(report_content.Content({**whole(), "quick": True}).warnings()))

    def test_pymalloc_failing_is_said(self):
        result = whole(groups=["c1"])
        mine = next(row for row in result["runs"] if row["allocator"] == "pymalloc" and row["round"] == 2)
        mine.update(seconds=None, peak=None, faults=None, failure="exit status 3: <wrong> sum")
        warnings = report_content.Content(result).warnings()
        self.assertTrue(any(warning.startswith("pymalloc itself failed in 1 workload;") for warning in warnings), warnings)
        self.assertIn("failed 1 of 5", self.page(result))

    def test_losses_are_those_beyond_noise(self):
        content = report_content.Content(whole())
        losses = {(loss.workload.key, loss.metric.title) for loss in content.losses()}
        slower = {workload for workload, metric in losses if metric == "time"}
        self.assertEqual(slower, {"c1-0", "cn-0", "py313-0", "py39-0", "memory-0"})
        self.assertEqual({workload for workload, metric in losses if metric == "peak memory"}, set())
        self.assertIn("in time on 5 of 10 workloads, in peak memory on 0 of 10", content.losses_line())
        group = content.groups[0]
        first, second = (content.cells(report_content.TIME, group, workload) for workload in group.workloads)
        marks = {allocator.key: set(cell.marks) for allocator, cell in zip(group.allocators, first)}
        self.assertEqual(marks, {"pymalloc": set(), "glibc": set(), "fast": {"best", "beats"}, "worst": {"failed"}})
        self.assertEqual(dict(zip([a.key for a in group.allocators], second))["pymalloc"].marks, ("best",))
        # The same median, but rounds that differ by more than the allocators do.
        noisy = whole()
        for row in noisy["runs"]:
            if row["allocator"] == "fast":
                row["seconds"] *= (0.5, 1, 1.5, 1, 2)[row["round"] - 1]
        self.assertEqual([loss for loss in report_content.Content(noisy).losses() if loss.metric.title == "time"], [])
        self.assertEqual(report_content.Content(whole(rounds=1)).losses(), [])

    def test_failures_are_words_with_their_reason(self):
        content = report_content.Content(whole(groups=["c1"]))
        group = content.groups[0]
        cell = content.cells(report_content.TIME, group, group.workloads[0])[-1]
        self.assertEqual((cell.text, cell.hover), ("crashed", "killed by SIGSEGV (5 of 5 rounds)"))
        self.assertEqual(content.mean_cells(report_content.TIME, group)[-1].text, "failed")
        title = group.title
        self.assertEqual(content.failure_lines(), [f"worst 2.0 crashed in c1-0 ({title}) and c1-1 ({title}): killed by SIGSEGV"])
        self.assertEqual(content.failure_lines(1), [f"worst 2.0 crashed in c1-0 ({title}) and 1 more: killed by SIGSEGV"])

    def test_mean_over_fewer_workloads_is_marked_and_never_the_best(self):
        result = only(whole(groups=["c1"]), lambda row: row["allocator"] != "fast" or row["workload"] == "c1-0")
        content = report_content.Content(result)
        cells = dict(zip([a.key for a in content.allocators], content.mean_cells(report_content.TIME, content.groups[0])))
        self.assertEqual(cells["fast"].text, "0.70")
        self.assertIn("1 of 2", cells["fast"].under)
        self.assertEqual(cells["fast"].marks, ())
        self.assertEqual((cells["pymalloc"].text, cells["pymalloc"].marks), ("0.90", ("best",)))
        self.assertEqual(cells["own"], report_content.Cell())

    def test_bound(self):
        content = report_content.Content(whole(groups=["memory"]))
        group = content.groups[0]
        figures = content.figures(group, group.workloads[0], content.ours)
        self.assertEqual(figures["bound"], (4 + 1.125 * 2 + 8) * MIB)
        self.assertIs(content.kept(figures), True)
        self.assertIs(content.kept({**figures, "idle": figures["bound"] + 1}), False)
        self.assertIs(content.kept({**figures, "floor": None, "bound": None}), None)
        # All was dropped: a floor of nothing is a floor.
        result = whole(groups=["memory"])
        for row in result["runs"]:
            row.get("figures", {}).update(live=0, floor=0)
        figures = report_content.Content(result).figures(group, group.workloads[0], content.ours)
        self.assertEqual((figures["floor"], figures["bound"]), (0, 12 * MIB))
        cells = dict(zip([a.key for a in group.allocators], content.memory_cells(group, group.workloads[0])))
        self.assertEqual((cells["pymalloc"].text, cells["pymalloc"].under), ("14.0 MiB", "✓ kept"))
        self.assertEqual((cells["glibc"].text, cells["glibc"].under), ("84.0 MiB", "not kept"))
        self.assertEqual(cells["worst"].text, "crashed")

    def test_groups_in_order(self):
        groups = ["memory", "py3.9", "gpu", "py3.13", "cn", "py3.10", "c1"]
        content = report_content.Content(whole(groups=groups))
        self.assertEqual([group.key for group in content.groups], ["c1", "cn", "py3.13", "py3.10", "py3.9", "memory", "gpu"])
        self.assertEqual(content.groups[2].title, "CPython 3.13.0")
        for group in content.groups:
            self.assertEqual(group.allocators[0].key, "pymalloc")
            self.assertEqual(group.allocators[1], group.baseline)

    def test_inline_pictures(self):
        content = report_content.Content(whole())
        memory = content.groups[-1]
        pictures = [
            report_plots.legend(content.allocators),
            *(report_plots.scatter(content, group) for group in content.groups),
            *report_plots.dots(content, memory, report_content.PEAK),
            report_plots.memory(content, memory, memory.workloads[0]),
        ]
        for picture in pictures:
            root = xml.etree.ElementTree.fromstring(picture)
            self.assertEqual(root.attrib["viewBox"].split()[2], str(report_plots.WIDTH))
            self.assertTrue(root.attrib["aria-label"])
            texts = [element for element in root.iter() if element.tag.endswith("text")]
            self.assertTrue(texts)
            for element in texts:
                size = float(re.search(r"font-size: (\d+)px", element.attrib["style"])[1])
                self.assertGreaterEqual(size, 12)
                self.assertNotIn("font-family", element.attrib["style"])
            for stand_in in (report_plots.TEXT, report_plots.RULE, report_plots.BAND):
                self.assertNotIn(stand_in, picture)
        self.assertIn("14 pymalloc", pictures[-1])
        self.assertIn("6 page floor", pictures[-1])

    def test_labels_do_not_overlap(self):
        for wanted in ([5, 5, 5, 5], [0, 100, 99, 98], [50], [-5, 300, 7, 7.5, 8, 299]):
            places = report_plots.apart(wanted, 10, 0, 100)
            ordered = sorted(places)
            self.assertTrue(all(after - before > 9.999 for before, after in zip(ordered, ordered[1:])), places)
            self.assertTrue(0 <= ordered[0] and ordered[-1] <= 100.001, places)
            order = sorted(range(len(wanted)), key=wanted.__getitem__)
            self.assertEqual([places[index] for index in order], ordered)
        self.assertEqual(list(report_plots.apart([20, 80, 50], 10, 0, 100)), [20, 80, 50])

    def test_generated_part_leaves_the_rest_alone(self):
        prose = ("# Title\n\nBefore, with *marks*.\n\n", "\n\nAfter: where we lose.\n")
        with open(self.path("benchmarks.md"), "w", encoding="utf-8") as file:
            file.write(f"{prose[0]}{report.BEGIN}\nOLD TEXT {report.END}{prose[1]}")
        text = self.markdown(whole())
        self.assertTrue(text.startswith(prose[0] + report.BEGIN))
        self.assertTrue(text.endswith(report.END + prose[1]))
        self.assertNotIn("OLD TEXT", text)
        self.assertEqual(self.markdown(whole()), text, "not the same the second time")
        self.assertIn("](benchmarks.svg)", text)
        self.assertLess(text.count("\n"), 200)
        for workload in ("c1-0", "cn-1", "py313-0", "py39-1", "memory-0"):
            self.assertIn(f"| {workload} |", text)
        for table in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
            columns = {len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}
            self.assertEqual(len(columns), 1, table)

    def test_picture_of_the_docs(self):
        # The means of its bars are over fewer scenarios than those of the summary, and it says so.
        self.assertRegex(self.markdown(whole()), r"resident once the work is dropped in the \d+ scenarios?( in CPython)?, against glibc: ")
        picture = self.read("benchmarks.svg")
        root = xml.etree.ElementTree.fromstring(picture)
        self.assertTrue(root.tag.endswith("svg"))
        self.assertNotRegex(picture, r"href=\"(?!#)|url\((?!#)|<script")
        for stand_in in (report_plots.TEXT, report_plots.RULE, report_plots.BAND):
            self.assertNotIn(stand_in, picture)

    def test_page_of_prose_without_its_marks_is_left_alone(self):
        for text in ("# No marks\n", f"{report.END}\n{report.BEGIN}\n", f"{report.BEGIN}\n{report.BEGIN}\n{report.END}\n"):
            with open(self.path("benchmarks.md"), "w", encoding="utf-8") as file:
                file.write(text)
            with self.assertRaisesRegex(ValueError, "needs the lines"):
                self.markdown(whole())
            self.assertEqual(self.read("benchmarks.md"), text)

    def test_what_is_no_result(self):
        no_allocators = {**whole(), "allocators": [{"key": "pymalloc"}]}
        for result in ({}, [], None, {**whole(), "format": 2}, {"format": 1}, no_allocators, {**whole(), "started": "yesterday"}):
            with self.assertRaises(ValueError):
                report.write(result, self.path("report.html"))
        self.assertEqual(os.listdir(self.directory), [])

    def test_a_page_that_cannot_be_written_leaves_the_old_one(self):
        self.page(whole(groups=["c1"]))
        old = self.read("report.html")
        # A device that is always full.
        os.symlink("/dev/full", self.path("report.html.new"))
        with self.assertRaises(OSError):
            report.write(whole(groups=["cn"]), self.path("report.html"))
        self.assertEqual(self.read("report.html"), old)
        self.assertEqual(os.listdir(self.directory), ["report.html"])

    def test_command_line(self):
        with open(self.path("RESULT.json"), "w", encoding="utf-8") as file:
            json.dump(whole(groups=["c1"]), file)
        report.main([self.path("RESULT.json"), self.path("out.html")])
        Checked(self.read("out.html"))
        with open(self.path("cut.json"), "w", encoding="utf-8") as file:
            file.write('{"format": 1, "ru')
        os.mkfifo(self.path("pipe"))
        for arguments, said in (
            (["only one"], "usage"),
            ([self.path("absent.json"), self.path("out.html")], "absent.json: No such file"),
            ([self.path("cut.json"), self.path("out.html")], "cut.json: "),
            ([self.path("RESULT.json"), self.path("no/such/out.html")], "No such file"),
            ([self.path("RESULT.json"), self.path("pipe")], "pipe is not a file"),
        ):
            with contextlib.redirect_stderr(io.StringIO()), self.assertRaisesRegex(Stop, said) as stopped:
                report.main(arguments)
            self.assertNotIn("\n", str(stopped.exception))


if __name__ == "__main__":
    unittest.main()
