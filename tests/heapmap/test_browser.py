"""The page in a real browser, when there is one: it draws, without a script error, and shows the figures of the snapshot."""

import html
import json
import os
import re
import shutil
import subprocess
import unittest

import drawing
import synthetic

CHROMIUM = shutil.which("chromium")


@unittest.skipUnless(CHROMIUM, "there is no chromium on PATH")
class Browser(drawing.InDirectory):
    def dump(self, *more):
        """The document as it is once the page has drawn."""
        command = [CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--virtual-time-budget=60000"]
        command += [f"--user-data-dir={self.path('profile')}", *more]
        environment = dict(os.environ, HOME=self.directory, TZ="UTC")
        result = subprocess.run(
            [*command, "--dump-dom", f"file://{self.path('page.html')}"], capture_output=True, text=True, timeout=60, check=True, env=environment
        )
        return result.stdout

    def act(self, script, width=None):
        """What a script finds that acts on the drawn page: `drawn(n)` waits for the n-th drawing, `put(name, value)` notes something.

        For a screen of a width the page is put into a frame, since a window has a least width."""
        driver = f"""<script>(async () => {{
            const put = (name, value) => (top.document.documentElement.dataset["found" + name] = value);
            const drawn = async (number) => {{
                while (+(document.documentElement.dataset.ready || 0) < number) await new Promise((done) => setTimeout(done, 20));
            }};
            const at = (id) => document.getElementById(id);
            await drawn(1);
            {script}
            put("Problem", at("problem").textContent);
        }})()</script>"""
        page = self.read("page.html").replace("</body>", driver + "</body>")
        if width is not None:
            page = f'<!doctype html><iframe style="border: 0" width="{width}" height="700" srcdoc="{html.escape(page)}"></iframe>'
        self.write("page.html", page)
        document = self.dump()
        found = {name: html.unescape(value) for name, value in re.findall(r'data-found-(\w+)="([^"]*)"', document)}
        self.assertEqual(found.pop("problem", "the script did not come to its end"), "")
        return found

    def test_it_draws_the_last_snapshot(self):
        lines = synthetic.make_lines(4, 3, command="<b>app</b>")
        self.draw(lines)
        document = self.dump()
        self.assertIn('data-ready="1"', document)
        self.assertRegex(document, r'<p id="problem"[^>]* hidden="">')
        self.assertIn("3 of 3, after 0.50 s", document)
        self.assertIn("&lt;b&gt;app&lt;/b&gt;, process 4242", document)
        totals = json.loads(lines[-1])["totals"]
        self.assertIn(f"<dd>{totals['arenas']['live']}</dd>", document)
        in_use = sum(entry["in_use"] for entry in totals["classes"])
        self.assertIn(f"<td>{in_use:,}</td>", document)

    def test_it_draws_merged_cells(self):
        self.draw([json.dumps(synthetic.make_snapshot(12, 0.6)) + "\n"])
        with open(self.path("merge.py"), "w", encoding="utf-8") as file:
            file.write(
                "import sys; sys.path.insert(0, sys.argv[1]); import packing, page, snapshots; packing.BUDGET = 3000\n"
                "open(sys.argv[3], 'w').write(page.make(snapshots.read([sys.argv[2]], print)))\n"
            )
        merge = [drawing.sys.executable, "-B", self.path("merge.py"), drawing.sys.path[0], self.path("snapshots.jsonl"), self.path("page.html")]
        subprocess.run(merge, check=True, timeout=60)
        self.assertGreater(drawing.Page(self.read("page.html")).processes[0]["together"], 1)
        document = self.dump()
        self.assertIn('data-ready="1"', document)
        self.assertIn("neighbouring slots", document)

    def test_the_clock_moves_with_the_slider(self):
        # The snapshots are of 14 November 2023, 22:13:20 UTC, and each second after.
        lines = [json.dumps(synthetic.make_snapshot(2, kept, time=1_700_000_000 + number)) + "\n" for number, kept in enumerate((1.0, 0.6, 0.3))]
        self.draw(lines)
        found = self.act("""
            put("Last", at("about").textContent + " / " + at("when").textContent);
            at("slider").value = 0;
            at("slider").dispatchEvent(new Event("input"));
            await drawn(2);
            put("First", at("about").textContent + " / " + at("when").textContent);
        """)
        self.assertRegex(found["last"], r"10:13:22 PM, pymalloc .* / 3 of 3, after 2.00 s, at 22:13:22")
        self.assertRegex(found["first"], r"10:13:20 PM, pymalloc .* / 1 of 3, after 0.00 s, at 22:13:20")

    def test_of_several_processes_it_opens_on_the_fullest_moment(self):
        # The first process is small to its end, as a server's master; of the others the second was fullest, at its middle snapshot.
        lines = synthetic.make_lines(2, 2, pid=10)
        for pid, sizes in ((11, (2, 5, 1)), (12, (2, 9, 1))):
            lines += [json.dumps(synthetic.make_snapshot(arenas, pid=pid, time=1_700_000_000 + number)) + "\n" for number, arenas in enumerate(sizes)]
        self.draw(lines)
        found = self.act("""
            put("About", at("about").textContent + at("when").textContent + at("process").selectedOptions[0].text);
            at("process").value = 1;
            at("process").dispatchEvent(new Event("change"));
            await drawn(2);
            put("Other", at("about").textContent + at("when").textContent);
        """)
        self.assertRegex(found["about"], r"process 12,.*2 of 3.*12 python3 app.py, \d+\.?\d* MiB")
        self.assertRegex(found["other"], r"process 11,.*2 of 3")

    def test_the_chart_has_scales_and_the_page_floor(self):
        lines = [json.dumps(synthetic.make_snapshot(40, kept, time=1_700_000_000 + 10 * number)) + "\n" for number, kept in enumerate((1.0, 0.6, 0.4))]
        page = self.draw(lines)
        head, _ = page.snapshot(number=2)
        found = self.act("""
            const texts = (name) => [...at("line").querySelectorAll("text." + name)].map((one) => one.textContent).join(" ");
            put("Height", at("line").getBoundingClientRect().height);
            put("Levels", texts("level"));
            put("Clock", texts("clock"));
            put("Figures", texts("resident") + ", " + texts("used") + ", " + texts("floor"));
            put("Line", at("line").querySelector("path.floor").getAttribute("d"));
            put("Marks", at("line").querySelectorAll("circle").length);
            const boxes = [...at("line").querySelectorAll("text")].map((one) => one.getBBox());
            const inside = boxes.every((one) => one.x >= 0 && one.x + one.width <= at("line").clientWidth);
            put("Cut", !inside);
            const meets = (one, other) => one.x < other.x + other.width && other.x < one.x + one.width && one.y + 3 < other.y + other.height && other.y + 3 < one.y + one.height;
            put("Overlap", boxes.some((one, index) => boxes.slice(index + 1).some((other) => meets(one, other))));
        """)
        self.assertGreaterEqual(float(found["height"]), 200)
        self.assertEqual(found["levels"], "0 20 MiB 40 MiB 60 MiB")
        self.assertEqual(found["clock"], "22:13:20 22:13:25 22:13:30 22:13:35 22:13:40")
        self.assertIn(f"{head['floor'] / 2**20:.1f} MiB page floor", found["figures"])
        self.assertEqual(found["line"].count("L"), 2)
        self.assertEqual((found["marks"], found["cut"], found["overlap"]), ("3", "false", "false"))

    def test_it_opens_on_the_verdict(self):
        lines = [json.dumps(synthetic.make_snapshot(40 + number, 0.9, time=1_700_000_000 + 10 * number)) + "\n" for number in range(20)]
        self.draw(lines)
        # Of a leak the fullest moment is the last one.
        self.assertRegex(self.act('put("Verdict", at("verdict").textContent);')["verdict"], r"\AIt looks like a leak: what is in use grows by \d+\.\d MiB a minute\.\Z")

    def test_without_block_states_there_is_no_line_of_the_page_floor(self):
        self.draw(synthetic.make_lines(3, 3, blocks=False))
        found = self.act("""
            put("Line", at("line").querySelector("path.floor").getAttribute("d"));
            put("Text", at("line").querySelectorAll("text.floor").length);
        """)
        self.assertEqual((found["line"], found["text"]), ("", "0"))

    def test_a_click_anywhere_in_a_row_chooses_its_class(self):
        self.draw(synthetic.make_lines(4))
        found = self.act("""
            const row = () => at("classes").querySelector("tbody tr:nth-child(3)");
            const chosen = () => [...at("classes").querySelectorAll("tbody tr")].map((one) => +one.classList.contains("chosen")).join("").slice(0, 4);
            const [before, cell] = [at("map").toDataURL(), () => row().lastElementChild];
            cell().click();
            put("Cell", chosen());
            put("Drawn", at("map").toDataURL() !== before);
            cell().click();
            put("Again", chosen());
            row().querySelector("button").focus();
            row().querySelector("button").click();
            put("Button", chosen());
            put("Focus", document.activeElement === row().querySelector("button"));
        """)
        expected = {"cell": "0010", "drawn": "true", "again": "0000", "button": "0010", "focus": "true"}
        self.assertEqual(found, expected)

    def test_on_a_phone_nothing_is_cut(self):
        snapshot = synthetic.make_snapshot(3, 0.6)
        for entry in snapshot["totals"]["classes"]:
            for name in ("pools", "in_use", "free", "untouched"):
                entry[name] = entry[name] * 1237 + 765_432
        self.draw([json.dumps(snapshot) + "\n", json.dumps(dict(snapshot, time=snapshot["time"] + 60)) + "\n"])
        found = self.act("""
            const wide = at("classes").parentElement;
            put("Window", window.innerWidth);
            put("Table", wide.scrollWidth - wide.clientWidth);
            put("Page", document.documentElement.scrollWidth - document.documentElement.clientWidth);
            put("Height", at("line").getBoundingClientRect().height);
            put("Columns", at("classes").querySelectorAll("thead th").length);
        """, width=360)
        self.assertEqual(found["window"], "360")
        self.assertEqual((found["table"], found["page"], found["columns"]), ("0", "0", "7"))
        self.assertGreaterEqual(float(found["height"]), 200)


if __name__ == "__main__":
    unittest.main()
