"""The page in a real browser, when there is one: it draws, without a script error, and shows the figures of the snapshot."""

import json
import os
import shutil
import subprocess
import unittest

import drawing
import synthetic

CHROMIUM = shutil.which("chromium")


@unittest.skipUnless(CHROMIUM, "there is no chromium on PATH")
class Browser(drawing.InDirectory):
    def dump(self):
        """The document as it is once the page has drawn."""
        command = [CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=10000", f"--user-data-dir={self.path('profile')}"]
        environment = dict(os.environ, HOME=self.directory)
        result = subprocess.run(
            [*command, "--dump-dom", f"file://{self.path('page.html')}"], capture_output=True, text=True, timeout=60, check=True, env=environment
        )
        return result.stdout

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
        html = self.path("page.html")
        merge = [drawing.sys.executable, "-B", self.path("merge.py"), drawing.sys.path[0], self.path("snapshots.jsonl"), html]
        subprocess.run(merge, check=True, timeout=60)
        self.assertGreater(drawing.Page(self.read("page.html")).processes[0]["together"], 1)
        document = self.dump()
        self.assertIn('data-ready="1"', document)
        self.assertIn("neighbouring slots", document)


if __name__ == "__main__":
    unittest.main()
