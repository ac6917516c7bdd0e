"""What the module must show, told from inside a process on pymalloc: `test_module.py` runs this on every CPython found."""

import json
import os
import sys
import threading
import unittest

import pymalloc


class Inside(unittest.TestCase):
    def test_objects_are_on_it(self):
        self.assertTrue(pymalloc.enabled())

    def test_where_an_object_lies(self):
        thing = bytes(700)
        place = pymalloc.inspect(thing)
        self.assertEqual((place.kind, place.state, place.block), ("pool", "allocated", id(thing)))
        self.assertGreaterEqual(place.block_size, sys.getsizeof(thing))
        self.assertEqual(place.block, place.pool + place.index * place.block_size)
        self.assertEqual(place.arena, place.pool // place.arena_size * place.arena_size)
        self.assertGreater(place.size_class, 0)
        self.assertEqual(pymalloc.inspect(place.block + 1), place)

    def test_the_block_begins_before_what_the_collector_knows(self):
        thing = [1]
        place = pymalloc.inspect(thing)
        self.assertLess(place.block, id(thing))
        self.assertLessEqual(id(thing) + object.__basicsize__, place.block + place.block_size)

    def test_a_freed_block_is_free(self):
        thing = bytes(700)
        block = pymalloc.inspect(thing).block
        del thing
        self.assertEqual(pymalloc.inspect(block).state, "free")

    def test_larger_blocks(self):
        large, mapping = bytes(100000), bytes(10**7)
        place = pymalloc.inspect(large)
        self.assertEqual((place.kind, place.block, place.size_class, place.index), ("large", id(large), None, None))
        place = pymalloc.inspect(mapping)
        self.assertEqual((place.kind, place.block, place.arena, place.arena_size), ("mapping", id(mapping), None, 0))

    def test_what_is_not_its_memory(self):
        for other in (0, -1, 1, 1 << 47, (1 << 64) - 1, 1 << 80, id(type), None):
            self.assertIsNone(pymalloc.inspect(other))
        arena = pymalloc.inspect(bytes(700)).arena
        header = pymalloc.inspect(arena)
        self.assertEqual((header.kind, header.arena, header.block, header.state), ("arena", arena, None, None))

    def test_figures(self):
        before = pymalloc.stats()
        self.assertEqual(before["pid"], os.getpid())
        kept = bytes(10**7)
        after = pymalloc.stats()
        self.assertGreaterEqual(after["mappings"]["bytes"], before["mappings"]["bytes"] + len(kept))
        self.assertEqual(sum(entry["pools"] > 0 for entry in after["classes"]), len(after["classes"]))

    def test_figures_from_many_threads(self):
        found = []
        threads = [threading.Thread(target=lambda: found.append(pymalloc.stats()["pid"])) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(found, [os.getpid()] * 8)

    def test_trim(self):
        kept = [bytes(700) for number in range(10000)]
        del kept
        self.assertIs(pymalloc.trim(), True)
        self.assertEqual(pymalloc.stats()["mappings"]["kept_bytes"], 0)

    def test_snapshots(self):
        path = os.path.join(sys.argv[1], f"snapshots of {sys.version_info[1]}.jsonl")
        pymalloc.heapmap(path)
        pymalloc.heapmap(path, blocks=False)
        with open(path, encoding="utf-8") as file:
            whole, short = map(json.loads, file)

        def runs(snapshot):
            return {pool[5] for arena in snapshot["arenas"] for pool in arena["pools"]}

        self.assertEqual((whole["format"], whole["pid"]), (1, os.getpid()))
        self.assertNotIn("", runs(whole))
        self.assertEqual(runs(short), {""})

    def test_a_snapshot_that_cannot_be_written(self):
        with self.assertRaises(FileNotFoundError):
            pymalloc.heapmap("/no/snapshot.jsonl")
        with self.assertRaises(OSError) as raised:
            pymalloc.heapmap("/dev/full")
        self.assertIn("No space left on device: '/dev/full'", str(raised.exception))


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
