"""The loop over all runs, with a runner that only pretends: their order, which are not repeated, left out, or gone on with."""

import contextlib
import io
import json
import os
import unittest
from collections import Counter

import fake
from suite import measuring, places, plan, storing


def item(group, key, allocators=("pymalloc", "own", "mimalloc3")):
    return plan.Item(group, key, "a title", "", [key], False, list(allocators))


def make_plan(items, rounds=3, optional=(), **identity):
    groups = {each.group for each in items}
    allocators = {key: fake.allocators.Allocator(key, key, "") for each in items for key in each.allocators}
    return plan.Plan(list(items), allocators, [], {}, dict.fromkeys(groups, rounds), list(optional), {"options": 1, **identity})


class Runner:
    """Every run takes `elapsed`; those of a failing (workload) fail; after `stop` runs someone interrupts."""

    def __init__(self, elapsed=1.0, failing=(), stop=None):
        self.elapsed, self.failing, self.stop = elapsed, failing, stop
        self.ran = []

    def run(self, command, environment):
        if len(self.ran) == self.stop:
            raise KeyboardInterrupt
        self.ran.append(command[0])
        failure = "killed by SIGSEGV" if command[0] in self.failing else None
        return {"seconds": 0.1, "peak": 1, "faults": 1, "failure": failure, "elapsed": self.elapsed}


class Measuring(fake.InDirectory):
    def journal(self, made, fresh=False):
        return storing.Journal(os.path.join(self.directory, "out", "runs.jsonl"), made.identity, "now", fresh)

    def measure(self, made, runner, **more):
        """The journal, closed, and what was printed."""
        with contextlib.closing(self.journal(made)) as journal, contextlib.redirect_stdout(io.StringIO()) as printed:
            measuring.measure(made, runner, journal, **more)
        return journal, printed.getvalue()

    def rows(self, journal):
        return [(run["round"], run["group"], run["workload"], run["allocator"]) for run in journal.runs]

    def test_allocators_stand_side_by_side_and_take_turns(self):
        made = make_plan([item("c1", "a"), item("c1", "b")], rounds=3)
        rows = self.rows(self.measure(made, Runner())[0])
        self.assertEqual([row[0] for row in rows], [1] * 6 + [2] * 6 + [3] * 6)
        places_taken = Counter()
        for start in range(0, len(rows), 3):
            self.assertEqual(len({row[:3] for row in rows[start: start + 3]}), 1)
            places_taken.update((row[2], row[3], place) for place, row in enumerate(rows[start: start + 3]))
        # In three rounds each of three allocators had each place once.
        self.assertEqual(set(places_taken.values()), {1})
        self.assertEqual(len(places_taken), 18)

    def test_groups_have_their_own_numbers_of_rounds(self):
        made = make_plan([item("c1", "a"), item("memory", "b")])
        made.rounds.update(c1=2, memory=1)
        self.assertEqual(Counter(row[2] for row in self.rows(self.measure(made, Runner())[0])), {"a": 6, "b": 3})

    def test_what_failed_twice_is_not_run_again(self):
        made = make_plan([item("c1", "a"), item("c1", "b")], rounds=5)
        rows = self.rows(self.measure(made, Runner(failing=("b",)))[0])
        self.assertEqual(Counter(row[2] for row in rows), {"a": 15, "b": 6})

    def test_groups_that_there_is_no_time_for_are_left_out(self):
        items = [item("c1", "a"), item("py3.12", "a"), item("py3.11", "a")]
        made = make_plan(items, rounds=5, optional=("py3.12", "py3.11"))
        # Each group takes 15 seconds.
        for budget, left_out in ((50, []), (40, ["py3.11"]), (20, ["py3.12", "py3.11"])):
            with self.subTest(budget=budget):
                journal, printed = self.measure(made, Runner(), budget=budget)
                self.assertEqual(journal.notes["left_out"], left_out)
                self.assertEqual({row[1] for row in self.rows(journal)}, {each.group for each in items} - set(left_out))
                self.assertEqual("Left out" in printed, bool(left_out))
                os.remove(journal.path)

    def test_an_interrupted_run_goes_on_where_it_was(self):
        made = make_plan([item("c1", "a"), item("py3.12", "b")], optional=("py3.12",))
        with self.assertRaises(KeyboardInterrupt):
            self.measure(made, Runner(stop=7))
        runner = Runner()
        journal, _ = self.measure(made, runner)
        self.assertIn("going on after 7 runs", journal.began)
        self.assertEqual(len(runner.ran), 11)
        self.assertEqual(self.rows(journal), [(step.round, *step.row) for step in made.steps()])

    def test_half_a_line_left_by_a_kill_is_dropped(self):
        made = make_plan([item("c1", "a")])
        with self.assertRaises(KeyboardInterrupt):
            self.measure(made, Runner(stop=4))
        path = os.path.join(self.directory, "out", "runs.jsonl")
        with open(path, "a", encoding="utf-8") as file:
            file.write('{"workload": "a", "gro')
        journal, _ = self.measure(made, Runner())
        self.assertEqual(self.rows(journal), [(step.round, *step.row) for step in made.steps()])
        with open(path, encoding="utf-8") as file:
            self.assertEqual(len([json.loads(line) for line in file]), 1 + 9)

    def test_another_library_or_fresh_starts_anew(self):
        for identity, fresh, words in (({"library": "other"}, False, "starting anew: not the same library"), ({}, True, "")):
            with self.assertRaises(KeyboardInterrupt):
                self.measure(make_plan([item("c1", "a")], library="one"), Runner(stop=4))
            made = make_plan([item("c1", "a")], **{"library": "one", **identity})
            with contextlib.closing(self.journal(made, fresh)) as journal:
                self.assertEqual(journal.runs, [])
                self.assertTrue(journal.began.startswith(words) and bool(journal.began) == bool(words), journal.began)

    def test_a_completed_run_starts_anew(self):
        made = make_plan([item("c1", "a")])
        with contextlib.closing(self.journal(made)) as journal, contextlib.redirect_stdout(io.StringIO()):
            measuring.measure(made, Runner(), journal)
            journal.note(finished="now")
        with contextlib.closing(self.journal(made)) as journal:
            self.assertEqual((journal.runs, journal.began), ([], ""))

    def test_two_at_once_are_refused(self):
        made = make_plan([item("c1", "a")])
        with contextlib.closing(self.journal(made)), self.assertRaisesRegex(places.Stop, "another run is at work"):
            self.journal(made)


if __name__ == "__main__":
    unittest.main()
