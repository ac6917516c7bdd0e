"""The SVG picture: a document that says what it shows, small for every heap."""

import json
import unittest
from xml.etree import ElementTree

import drawing
import synthetic

SVG = "{http://www.w3.org/2000/svg}"


class Picture(drawing.InDirectory):
    def picture(self, snapshots, *arguments):
        path = self.write("in.jsonl", "".join(json.dumps(snapshot) + "\n" for snapshot in snapshots))
        self.heapmap(path, "--svg", self.path("out.svg"), *arguments)
        text = self.read("out.svg")
        self.assertLess(len(text), 300_000)
        return ElementTree.fromstring(text)

    def texts(self, root):
        return [text.text for text in root.iter(f"{SVG}text")]

    def test_a_picture_of_three_snapshots_and_a_pool(self):
        snapshots = [synthetic.make_snapshot(30, kept, time=10.0 + number, command='<a&"b">') for number, kept in enumerate((1.0, 0.6, 0.4))]
        root = self.picture(snapshots, "--pool")
        texts = self.texts(root)
        for number in range(3):
            self.assertIn(f"after {number}.00 s", texts)
        self.assertTrue(texts[1].startswith("30 arenas, "))
        self.assertIn("not resident", texts)
        self.assertIn("resident", texts)
        self.assertIn('<a&"b">', root.get("aria-label"))

    def test_cells_cover_what_is_resident(self):
        """The full cells of one arena are as long as its resident pages, to the gaps between cells."""
        snapshot = synthetic.make_snapshot(1, 0.6)
        snapshot["mappings"] = []
        root = self.picture([snapshot])
        pages = sum(bin(byte).count("1") for byte in bytes.fromhex(snapshot["arenas"][0]["resident"]))
        wide = 0
        for path in root.iter(f"{SVG}path"):
            for part in path.get("d").split("M")[1:]:
                width, rest = part.split("h")[1].split("v")
                if float(rest) == 18:
                    wide += float(width)
        cells = len(snapshot["arenas"][0]["pools"]) + len(snapshot["arenas"][0]["large"]) + 1
        self.assertAlmostEqual(wide, pages * 16 / 4, delta=cells)

    def test_a_large_heap_is_merged(self):
        snapshot = synthetic.make_snapshot(3, 0.7)
        snapshot["arenas"] *= 100
        self.assertIn("A cell is 4 neighbouring slots (64 KiB)", " ".join(self.texts(self.picture([snapshot]))))


if __name__ == "__main__":
    unittest.main()
