"""`pymalloc pins`, `snapshot` and `diff`: what they say of a planted fault against what the system says once it is mended."""

import json
import os
import signal
import subprocess
import time
import unittest

import installed
import looking

MIB = 1 << 20
# What a session has.
SESSION = {"__main__.Session", "list", "str", "int"}
FIRST = os.path.join(looking.HERE, "snapshot-1.json")


def resident(pid):
    """Resident bytes that belong to no file, by the kernel's own count of the pages."""
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:
        return next(int(line.split()[1]) << 10 for line in file if line.startswith("Anonymous:"))


class Pins(looking.Test):
    def mended(self, process, how):
        process.send_signal(how)
        self.assertEqual(process.stdout.readline(), "done\n")
        return resident(process.pid)

    def test_what_is_returnable_is_what_goes_back(self):
        found = looking.found()
        for python in {found[0], found[-1]}:
            with self.subTest(python):
                process, _ = self.started(python, looking.PLANTED, "fragmented")
                seen = json.loads(self.told("pins", "--json", process.pid))
                pins, census = seen["pins"], json.loads(self.told("types", "--json", process.pid))
                of_sessions = [group for group in pins["groups"] if set(group["types"]) <= SESSION and not group["and_others"]]
                # The type that was planted is named first, with what goes with it.
                self.assertTrue({"__main__.Session"} <= set(of_sessions[0]["types"]) <= SESSION, pins["groups"][:3])
                returnable = sum(group["returnable_bytes"] for group in of_sessions)
                self.assertGreater(returnable, 60 * MIB)
                # What sessions have elsewhere goes with them, densely packed: the items of the lists.
                held = sum(row["bytes"] + row["held_bytes"] for row in census["types"] if row["name"] in SESSION)
                dense = held - sum(group["live_bytes"] for group in of_sessions)
                before = resident(process.pid)
                returned = before - self.mended(process, signal.SIGUSR1)
                self.assertTrue(returnable * 0.98 <= returned <= (returnable + dense) * 1.02, (returnable, dense, returned))
                after = json.loads(self.told("pins", "--json", process.pid))["pins"]
                self.assertLess(after["all"]["returnable_bytes"], 4 * MIB)

    def test_sums_and_advice(self):
        process, _ = self.started(looking.found()[-1], looking.PLANTED, "fragmented")
        seen = json.loads(self.told("pins", "--json", process.pid))
        pins = seen["pins"]
        for name in ("pages", "returnable_bytes", "live_bytes"):
            for part in ("groups", "sizes"):
                self.assertEqual(sum(row[name] for row in pins[part]), pins["all"][name], (name, part))
        self.assertLess(pins["all"]["live_bytes"] * 4, pins["all"]["returnable_bytes"])
        self.assertLess(pins["all"]["returnable_bytes"], seen["page_floor_bytes"])
        alone = {row["name"]: row for row in pins["types"]}
        groups = {group["types"][0]: group["returnable_bytes"] for group in pins["groups"] if len(group["types"]) == 1 and not group["and_others"]}
        self.assertIn("int", groups)
        for name, returnable in groups.items():
            self.assertEqual(alone[name]["returnable_alone_bytes"], returnable)
        told = self.told("pins", process.pid)
        self.assertRegex(told, rf"\Aprocess {process.pid}: .*\n1\d\d\.\d MiB stay for \d\.\d MiB in use, on \d\d,\d{{3}} pages")
        self.assertRegex(told, r"\n +returnable if freed +live +pages  what lies on them\n +\d+\.\d MiB +\d\.\d MiB +\d+,\d+  .*__main__\.Session")
        self.assertIn("copy them when it is", told)
        before = resident(process.pid)
        self.assertLess(self.mended(process, signal.SIGUSR2), before / 3)

    def test_a_process_without_pins(self):
        process, _ = self.started(looking.found()[-1], looking.PLANTED, "neither")
        self.assertIn("That is little", self.told("pins", process.pid))


class Differences(looking.Test):
    def test_growth(self):
        process, _ = self.started(looking.found()[-1], looking.PLANTED, "leak")
        before, after = self.path("a"), self.path("b")
        self.assertEqual(self.told("snapshot", process.pid, "-o", before), "")
        time.sleep(3)
        self.told("snapshot", process.pid, "-o", after)
        told = json.loads(self.told("diff", "--json", before, after))
        self.assertTrue(told["is_same_process"] and 3 <= told["seconds"] < 60, told["seconds"])
        grown = told["after"]["resident_bytes"] - told["before"]["resident_bytes"]
        self.assertEqual(told["growth_bytes"] + told["fragmentation_bytes"] + told["rest_bytes"], grown)
        self.assertGreater(told["growth_bytes"], MIB // 2)
        self.assertGreater(told["growth_bytes"], abs(told["fragmentation_bytes"]))
        rows = {row["name"]: row for row in told["types"][:4]}
        self.assertGreater(rows["__main__.Session"]["objects"], 100, told["types"])
        text = self.told("diff", "--most", 2, before, after)
        self.assertRegex(text, r"\nResident memory: \+\d+\.\d .iB\. Of that growth of what is in use: \+\d+\.\d .iB; ")
        self.assertRegex(text, r"\ntype +objects +bytes +pinned\n.*\+.*\n.*\+.*\n\nsize class ")
        back = self.told("diff", after, before)
        self.assertRegex(back, r"\nResident memory: -")

    def test_fragmentation(self):
        process, _ = self.started(looking.found()[-1], looking.PLANTED, "fragmented")
        self.told("snapshot", process.pid, "-o", self.path("a"))
        process.send_signal(signal.SIGUSR1)
        self.assertEqual(process.stdout.readline(), "done\n")
        self.told("snapshot", process.pid, "-o", self.path("b"))
        told = json.loads(self.told("diff", "--json", self.path("b"), self.path("a")))
        self.assertGreater(told["fragmentation_bytes"], 60 * MIB)
        self.assertGreater(told["fragmentation_bytes"], 4 * told["growth_bytes"])
        self.assertEqual(told["sizes"][0]["block_size"], 64)

    def refused(self, words, *arguments, **more):
        done = self.command(*arguments, **more)
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        self.assertRegex(done.stderr, rf"\Apymalloc-watch: [ -~]*{words}[ -~]*\n\Z")

    def test_what_cannot_be_written(self):
        process, _ = self.started(looking.found()[-1], looking.PLANTED, "neither")
        self.refused("No space left on device", "snapshot", process.pid, "-o", "/dev/full")
        self.assertTrue(os.path.exists("/dev/full"))
        self.refused("/no/file: No such file", "snapshot", process.pid, "-o", "/no/file")
        # A file that may not become longer is as a full disk is: what was there stays, and nothing is left behind.
        kept = self.write("a", "kept")
        limited = ["sh", "-c", 'trap "" XFSZ; ulimit -f 4; exec "$@"', "sh", self.path("bin/pymalloc-watch"), "--snapshot", str(process.pid), "-o", kept]
        done = subprocess.run(limited, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=installed.LIMIT)
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        self.assertRegex(done.stderr, r"\Apymalloc-watch: .*/a: File too large.*\n\Z")
        self.assertEqual(self.read("a"), "kept")
        self.assertEqual([name for name in os.listdir(self.folder) if "partial" in name], [])
        self.told("snapshot", process.pid, "-o", kept)
        self.told("diff", kept, kept)

    def test_what_is_no_snapshot(self):
        with open(FIRST, encoding="utf-8") as file:
            whole = file.read()
        for content, words in (
            ("", "it ends too early"),
            (whole[: len(whole) // 2], "it ends too early"),
            ("\0\x1b[2J", "it is no JSON"),
            ('{"format": "\x1b]0;", "version": 1}', "it is no"),
            ('{"format": "another", "version": 1}', "no snapshot of pymalloc"),
            ('{"format": "pymalloc snapshot", "version": 1}', "is missing"),
            ('{"format": "pymalloc snapshot", "version": 9}', "version 9"),
            ("[" * 10**6, "no snapshot"),
            (whole.replace('"pid": ', '"pid": "\\u001b", "other": '), "not what it should be"),
        ):
            self.refused(words, "diff", FIRST, self.write("broken", content))
        with open(self.path("long"), "wb") as file:
            file.truncate(1 << 40)
        self.refused("too long", "diff", FIRST, self.path("long"))
        self.refused("Is a directory", "diff", FIRST, self.folder)

    def test_names_and_numbers_of_a_hostile_file(self):
        with open(FIRST, encoding="utf-8") as file:
            file = json.load(file)
        row = file["census"]["types"][0]
        file["census"]["types"] = [{**row, "name": f"\x1b[2J\u202e{number}", "bytes": 2**64 - 1, "held_bytes": 2**64 - 1} for number in range(9)]
        file["command"] = "a\nb\x07"
        file["parts"] = {name: 2**64 - 1 for name in file["parts"]}
        told = self.told("diff", FIRST, self.write("hostile", json.dumps(file)))
        self.assertIn("??[2J?0", told.replace("?[2J?0", "??[2J?0"))
        self.assertFalse([letter for letter in told if not letter.isprintable() and letter != "\n"], told)

    def test_the_first_format_is_read(self):
        told = json.loads(self.told("diff", "--json", FIRST, FIRST))
        self.assertTrue(told["is_same_process"])
        self.assertEqual((told["types"], told["growth_bytes"]), ([], 0))
        self.assertGreater(told["before"]["resident_bytes"], MIB)


if __name__ == "__main__":
    unittest.main()
