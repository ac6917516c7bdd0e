"""One measured process: what comes of one that ends well, crashes, hangs or says nothing; and no setting of ours reaches it."""

import os
import shutil
import unittest
from unittest import mock

import fake
from suite import build, running


class Running(fake.InDirectory):
    def setUp(self):
        super().setUp()
        self.sources = fake.make_sources(self.directory, list(fake.PROGRAMS))
        self.assertEqual(build.programs(os.path.join(self.sources.benches, "c"), list(fake.PROGRAMS), [], self.sources.built), {})

    def run_program(self, key, limit=20, **environment):
        runner = running.Runner(fake.workloads.launcher(self.sources), self.directory, limit)
        return runner.run([os.path.join(self.sources.built, key)], environment)

    def test_a_run_that_ends_well(self):
        row = self.run_program("fine")
        self.assertEqual((row["seconds"], row["failure"]), (0.5, None))
        self.assertTrue(100_000 < row["peak"] < 20_000_000 and 10 < row["faults"] < 10_000 and 0 < row["elapsed"] < 20, row)

    def test_failures_in_words(self):
        for key, failure in (
            ("crash", "killed by SIGSEGV"),
            ("sulk", "exit status 3: it will not"),
            ("silent", "no figures in its output"),
            ("nowhere", "not started: launch: .*nowhere: No such file or directory"),
        ):
            row = self.run_program(key)
            self.assertRegex(row["failure"], f"^{failure}$")
            self.assertIsNone(row["seconds"])

    def test_a_hang_is_ended(self):
        row = self.run_program("hang", limit=0.5)
        self.assertEqual(row["failure"], "no result within 0.5 s")
        self.assertLess(row["elapsed"], 5)

    def test_a_library_that_cannot_be_loaded_is_a_failure(self):
        not_a_library = os.path.join(self.directory, "x.so")
        fake.write(not_a_library, "")
        for path in (not_a_library, "/nowhere.so"):
            self.assertIn(path, self.run_program("fine", BENCH_PRELOAD=path)["failure"])
        self.assertIsNone(self.run_program("fine", BENCH_PRELOAD=self.sources.allocators.library)["failure"])

    def test_settings_do_not_reach_a_measured_process(self):
        names = "LD_PRELOAD LD_LIBRARY_PATH MALLOC_ARENA_MAX GLIBC_TUNABLES PYMALLOC_CONF MIMALLOC_VERBOSE PYTHONPATH"
        settings = dict.fromkeys(names.split(), "x")
        allocator = fake.allocators.Allocator("jemalloc", "jemalloc", "/lib/libjemalloc.so.2")
        with mock.patch.dict(os.environ, settings):
            environment = allocator.python_environment("BENCH_PRELOAD")
        self.assertEqual(set(settings) & set(environment), set())
        self.assertEqual(environment["BENCH_PRELOAD"], allocator.path)
        self.assertEqual((environment["PYTHONHASHSEED"], environment["PYTHONDONTWRITEBYTECODE"]), ("0", "1"))

    def test_programs_are_compiled_again_only_when_a_source_is_newer(self):
        directory = os.path.join(self.sources.benches, "c")
        program = os.path.join(self.sources.built, "fine")
        os.utime(program, (4e9, 4e9))
        build.programs(directory, ["fine"], [], self.sources.built)
        self.assertEqual(os.path.getmtime(program), 4e9)
        os.utime(program, (0, 0))
        build.programs(directory, ["fine"], [], self.sources.built)
        self.assertGreater(os.path.getmtime(program), 0)

    def test_a_program_that_does_not_compile_is_left_out_with_the_reason(self):
        directory = os.path.join(self.sources.benches, "c")
        shutil.copy(os.path.join(directory, "fine.c"), os.path.join(directory, "same.c"))
        fake.write(os.path.join(directory, "wrong.c"), "int main(void) { return nothing; }\n")
        reasons = build.programs(directory, ["same", "wrong", "nowhere"], [], self.sources.built)
        self.assertEqual(set(reasons), {"wrong", "nowhere"})
        self.assertRegex(reasons["wrong"], "does not compile: .*nothing")


if __name__ == "__main__":
    unittest.main()
