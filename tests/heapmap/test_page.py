"""The page: that it has what the snapshots had, that what was left out is said, and that nothing in a snapshot can break it."""

import json
import os
import unittest

import drawing
import packing
import snapshots
import synthetic


def half_empty(arenas=6, **more):
    return synthetic.make_snapshot(arenas, 0.6, **more)


def line(snapshot):
    return json.dumps(snapshot) + "\n"


class Page(drawing.InDirectory):
    def test_every_figure_is_in_the_page(self):
        snapshot = half_empty()
        page = self.draw([line(snapshot)])
        head, columns = page.snapshot()
        pools = [pool for arena in snapshot["arenas"] for pool in arena["pools"]]
        self.assertEqual([tuple(pool[:5]) for pool in pools], list(zip(*(columns[name] for name in ("slot", "class", "in_use", "free", "untouched")))))
        self.assertEqual([pool[5] for pool in pools], page.runs())
        large = [tuple(run) for arena in snapshot["arenas"] for run in arena["large"]]
        self.assertEqual(large, list(zip(columns["large_slot"], columns["large_slots"], columns["large_bytes"])))
        self.assertEqual([int(arena["at"], 16) // synthetic.ARENA for arena in snapshot["arenas"]], list(columns["base"]))
        self.assertEqual("".join(arena["resident"] for arena in snapshot["arenas"]), bytes(columns["resident"]).hex())
        for name in ("resident", "bytes_in_use", "retained_bytes"):
            self.assertEqual(head["totals"][name], snapshot["totals"][name])
        self.assertEqual([list(entry.values()) for entry in snapshot["totals"]["classes"]], head["totals"]["classes"])

    def test_page_floor_is_the_resident_pages_with_a_live_block(self):
        snapshot = half_empty()
        live = 0
        for arena in snapshot["arenas"]:
            pages = set()
            for slot, number, _, _, _, runs in arena["pools"]:
                size, block = synthetic.CLASSES[number][0], 0
                for length, state in snapshots.RUN.findall(runs):
                    for one in range(block, block + int(length)):
                        first = slot * synthetic.SLOT + one * size
                        if state == "a":
                            pages.update(range(first // synthetic.PAGE, (first + size - 1) // synthetic.PAGE + 1))
                    block += int(length)
            for slot, _, size in arena["large"]:
                first = slot * synthetic.SLOT
                pages.update(range(first // synthetic.PAGE, (first + size - 1) // synthetic.PAGE + 1))
            resident = int.from_bytes(bytes.fromhex(arena["resident"]), "little")
            live += sum(resident >> page & 1 for page in pages)
        mapped = sum(resident for _, _, resident in snapshot["mappings"])
        head, _ = self.draw([line(snapshot)]).snapshot()
        self.assertEqual(head["floor"], live * synthetic.PAGE + mapped)
        self.assertLess(head["floor"], head["heap"])

    def test_snapshots_without_blocks(self):
        page = self.draw([line(half_empty(blocks=False))])
        self.assertEqual(page.processes[0]["blocks"], [None])
        self.assertIsNone(page.snapshot()[0]["floor"])
        self.assertIn("not in the snapshots", " ".join(page.processes[0]["notes"]))

    def test_processes_and_times_are_told_apart(self):
        late, early = half_empty(2, time=20.0), half_empty(2, time=10.0)
        other = half_empty(3, pid=99)
        page = self.draw(map(line, (late, other, early)))
        self.assertEqual([process["pid"] for process in page.processes], [4242, 99])
        self.assertEqual(page.processes[0]["times"], [10.0, 20.0])
        self.assertIn("2 processes", page.html)

    def test_chosen_snapshots(self):
        lines = synthetic.make_lines(3, 6)
        page = self.draw(lines, "--snapshots", "2,-1")
        times = [json.loads(text)["time"] for text in lines]
        self.assertEqual(page.processes[0]["times"], [times[1], times[5]])
        problem = self.heapmap(self.path("snapshots.jsonl"), "--snapshots", "7", "-o", self.path("x"), status=1)
        self.assertEqual(problem, ["process 4242 has 6 snapshots, and no number 7"])

    def test_text_of_a_snapshot_is_only_ever_text(self):
        evil = "</script><script>alert(1)</script><img src=x onerror=alert(1)>@DATA@ \u2028"
        page = self.draw([line(half_empty(1, command=evil))])
        self.assertEqual(page.processes[0]["command"], evil)
        self.assertNotIn("alert(1)</script>", page.html)
        self.assertNotIn("<img", page.html)

    def test_the_page_asks_for_nothing(self):
        html = self.draw([line(half_empty(1))]).html.replace("http://www.w3.org/2000/svg", "")
        for outside in ("http:", "https:", "src=", "@import", "url(", "<link"):
            self.assertNotIn(outside, html)

    def test_the_same_snapshots_make_the_same_page(self):
        lines = [line(half_empty(2))]
        self.assertEqual(self.draw(lines).html, self.draw(lines).html)


class LeftOut(unittest.TestCase):
    """The plan when not everything fits, with budgets that small heaps exceed too."""

    @classmethod
    def setUpClass(cls):
        cls.made = [snapshots.Snapshot(json.loads(text)) for text in synthetic.make_lines(5, 60)]
        cls.full = packing.pack(cls.made, packing.BUDGET, packing.POINTS)

    def pack(self, part):
        """The process in this part of what all of it takes."""
        budget = int(self.full.size() * part)
        packed = packing.pack(self.made, budget, packing.POINTS)
        self.assertLessEqual(packed.size(), budget)
        self.assertIn(self.made[-1].time, packed.about["times"])
        return packed

    def test_nothing_is_left_out_that_fits(self):
        self.assertEqual(self.full.about["notes"], [])
        self.assertEqual(len(self.full.cells), 60)
        self.assertNotIn(None, self.full.blocks)

    def test_first_blocks_then_snapshots_then_pools(self):
        some_blocks = self.pack(0.7)
        self.assertEqual((len(some_blocks.cells), some_blocks.about["together"]), (60, 1))
        self.assertIsNotNone(some_blocks.blocks[-1])
        self.assertIn(None, some_blocks.blocks)
        self.assertIn("snapshots have them", some_blocks.about["notes"][-1])
        cells = sum(map(len, self.full.cells)) / self.full.size()
        fewer = self.pack(cells * 0.9)
        self.assertLess(len(fewer.cells), 60)
        self.assertEqual(fewer.about["together"], 1)
        self.assertIn("60 snapshots are too many", fewer.about["notes"][0])
        merged = self.pack(cells * 0.4)
        self.assertGreater(merged.about["together"], 1)
        self.assertIn("neighbouring slots", merged.about["notes"][1])
        self.assertEqual(len(merged.about["line"]), 60)

    def test_merged_cells_add_up(self):
        snapshot = self.made[20]
        slots = sum(snapshot.classes[number][2] for number in snapshot.pool_class)
        used = sum(count * snapshot.classes[number][0] for count, number in zip(snapshot.in_use, snapshot.pool_class))
        resident = sum(bin(byte).count("1") for byte in snapshot.resident)
        for together in (2, 16, 64, 256):
            _, pools, _, use, pages = packing.merge(snapshot, together)
            self.assertEqual(len(pools), -(-len(snapshot.arenas) * 64 // together))
            # Each cell is rounded to a part of 255.
            rounding = len(pools) * together / 255
            self.assertAlmostEqual(sum(pools) / 255 * together, slots, delta=rounding)
            in_pools = sum(one * other / 255**2 for one, other in zip(pools, use)) * together * synthetic.SLOT
            self.assertAlmostEqual(in_pools, used, delta=2 * rounding * synthetic.SLOT)
            self.assertAlmostEqual(sum(pages) / 255 * together * 4, resident, delta=4 * rounding)


class Large(drawing.InDirectory):
    def test_4_gib_stay_below_5_mb(self):
        # The figures of each pool are drawn anew, so that no two arenas compress to one.
        arena = synthetic.make_snapshot(1, 0.6)["arenas"][0]
        snapshot = half_empty(1)
        snapshot["arenas"] = []
        for number in range(4096):
            digits = os.urandom(len(arena["pools"]))
            pools = [[*pool[:2], digit % (pool[2] + 1), pool[3], pool[4], ""] for pool, digit in zip(arena["pools"], digits)]
            snapshot["arenas"].append(dict(arena, at=f"{synthetic.TOP - number * synthetic.ARENA:x}", pools=pools, resident=os.urandom(32).hex()))
        text = line(snapshot)
        page = self.draw([text.replace('"time": 1700000000.0', f'"time": {1e9 + number}') for number in range(10)])
        self.assertLess(len(page.html), 5_000_000)
        self.assertEqual(page.snapshot()[0]["arenas"], 4096)
        self.assertGreater(page.processes[0]["together"], 1)


if __name__ == "__main__":
    unittest.main()
