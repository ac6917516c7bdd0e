"""The command starts as if `pymalloc-run` had not been there, but on pymalloc."""

import os
import signal
import subprocess
import sys
import unittest

import installed

ENVIRONMENT = {"PATH": os.environ["PATH"]}


def variables(text):
    return dict(line.split("=", 1) for line in text.splitlines())


class Starting(installed.Test):
    def test_it_becomes_the_command(self):
        process = self.start("sh", "-c", "echo $$; kill -TERM $$")
        self.assertEqual(process.communicate(timeout=installed.LIMIT)[0], f"{process.pid}\n")
        self.assertEqual(process.returncode, -signal.SIGTERM)
        self.assertEqual(self.run_it("sh", "-c", "exit 42").returncode, 42)

    def test_arguments_are_handed_over(self):
        for given in (["--stats", "--help"], ["a b", "", "*"], ["--", "-x"]):
            shown = self.output("sh", "-c", 'printf "<%s>" "$@"', "sh", *given)
            self.assertEqual(shown, "".join(f"<{text}>" for text in given))
        self.assertEqual(self.output("--", "printf", "%s", "--"), "--")
        self.assertEqual(self.output("--conf", "resident_budget=1m", "--", "echo", "--", "x"), "-- x\n")

    def test_nothing_else_changes_in_the_environment(self):
        with_it = variables(self.output("env", env=ENVIRONMENT))
        del with_it["PWD"]  # sh sets it
        self.assertEqual(with_it, {**ENVIRONMENT, "LD_PRELOAD": self.library, "PYTHONMALLOC": "malloc"})

    def test_descriptors_and_signals_are_the_callers(self):
        facts = ["sh", "-c", "ls /proc/self/fd; grep -E '^Sig(Blk|Ign|Cgt)' /proc/self/status"]
        for ignored in ((), (signal.SIGPIPE,), (signal.SIGINT, signal.SIGXFSZ)):

            def prepare():
                for number in (signal.SIGPIPE, signal.SIGXFSZ):
                    signal.signal(number, signal.SIG_DFL)
                for number in ignored:
                    signal.signal(number, signal.SIG_IGN)

            alone = subprocess.run(facts, stdout=subprocess.PIPE, text=True, restore_signals=False, preexec_fn=prepare)
            self.assertEqual(self.output(*facts, restore_signals=False, preexec_fn=prepare), alone.stdout)

    def test_the_command_is_on_the_library(self):
        done = self.run_it("--stats", sys.executable, "-c", "")
        self.assertEqual(done.returncode, 0)
        self.assertIn("pymalloc: statistics", done.stderr)

    def test_a_script_without_an_interpreter_is_for_sh(self):
        script = self.write("script of mine", 'echo "$0 $1"')
        self.assertEqual(self.output(script, "x"), f"{script} x\n")

    def test_paths_may_have_spaces(self):
        script = self.write("a b.py", f"#!{sys.executable}\nprint('here')")
        self.assertEqual(self.output(script), "here\n")
        self.assertEqual(self.output("./a b.py", cwd=self.folder), "here\n")

    def test_env_finds_the_interpreter(self):
        for line in ("env sh", "env -S sh -e", "env -S A=b sh"):
            self.assertEqual(self.output(self.write("script", f"#!/usr/bin/{line}\necho here")), "here\n")


class Environment(installed.Test):
    def shown(self, *options, **given):
        """The variables that it would set, and what it says."""
        done = self.run_it(*options, "--print", env={**ENVIRONMENT, **given})
        self.assertEqual(done.returncode, 0, done)
        return variables(done.stdout), done.stderr

    def test_what_is_preloaded_already_stays_in_front(self):
        for given in ("/x/one.so /x/two.so", "/x/one.so:/x/two.so"):
            self.assertEqual(self.shown(LD_PRELOAD=given)[0]["LD_PRELOAD"], f"/x/one.so:/x/two.so:{self.library}")

    def test_one_pymalloc_is_enough(self):
        for given in (self.library, "/x/libpymalloc.so.0"):
            self.assertEqual(self.shown(LD_PRELOAD=given)[0]["LD_PRELOAD"], self.library)

    def test_another_allocator_in_front_is_told(self):
        done = self.run_it("true", env={**ENVIRONMENT, "LD_PRELOAD": "/usr/lib/libjemalloc.so.2"})
        self.assertEqual(done.returncode, 125)
        self.assertIn("LD_PRELOAD names /usr/lib/libjemalloc.so.2", done.stderr)

    def test_pythonmalloc_of_the_user_is_kept(self):
        for given, said in (("pymalloc", 1), ("debug", 1), ("malloc", 0), ("malloc_debug", 0)):
            shown, text = self.shown(PYTHONMALLOC=given)
            self.assertEqual((shown["PYTHONMALLOC"], len(text.splitlines())), (given, said), text)
        self.assertEqual(self.shown(PYTHONMALLOC="")[0]["PYTHONMALLOC"], "malloc")

    def test_settings_are_appended(self):
        self.assertNotIn("PYMALLOC_CONF", self.shown()[0])
        shown, _ = self.shown("--conf", "resident_budget=1m", "--stats", "--conf", "retain=0", PYMALLOC_CONF="resident_budget=2m")
        self.assertEqual(shown["PYMALLOC_CONF"], "resident_budget=2m,stats_at_exit=1,resident_budget=1m,retain=0")

    def test_a_python_that_ignores_the_variable_is_told(self):
        python, script = sys.executable, self.write("script.py", "import sys; print(sys.flags.ignore_environment)")
        copies = []
        for line in (f"{python} -I", f"{python} -sE", f"/usr/bin/env -S {python} -B -I"):
            copies.append(self.write(f"script-{len(copies)}", f"#!{line}\nimport sys; print(sys.flags.ignore_environment)"))
        for arguments, option in (
            ([python, "-I", script], "-I"),
            ([python, "-E", script], "-E"),
            ([python, "-BsE", "-X", "dev", script], "-E"),
            ([python, "-W", "ignore", "-Xdev", "-I", script], "-I"),
            (["env", "A=b", python, "-I", script], "-I"),
            ([copies[0]], "-I"),
            ([copies[1]], "-E"),
            ([copies[2]], "-I"),
        ):
            done = self.run_it(*arguments)
            self.assertEqual((done.returncode, done.stdout), (0, "1\n"), done)
            said = f"pymalloc-run: Python's option {option} ignores PYTHONMALLOC: Python's small objects do not come from pymalloc\n"
            self.assertEqual(done.stderr, said)

    def test_other_options_say_nothing(self):
        script = self.write("script.py", "import sys; print(sys.argv[1:])")
        for arguments, shown in (
            (["-W", "ignore:E", script, "-I"], "['-I']\n"),
            (["-XE", "-B", script, "-E"], "['-E']\n"),
            (["-c", "import sys; print(sys.argv[1:])", "-E"], "['-E']\n"),
            (["-m", "platform"], None),
            (["--check-hash-based-pycs", "never", script], "[]\n"),
        ):
            output = self.output(sys.executable, *arguments)
            self.assertIn(shown or "", output)
        self.assertEqual(self.output("sh", "-c", "echo $1", "sh", "-I"), "-I\n")

    def test_what_is_printed_serves_other_tools(self):
        printed = self.output("--stats", "--print", env=ENVIRONMENT)
        done = subprocess.run(["env", *printed.split(), sys.executable, "-c", ""], stderr=subprocess.PIPE, text=True)
        self.assertIn("pymalloc: statistics", done.stderr)

    def test_the_version_is_that_of_the_library(self):
        self.assertRegex(self.output("--version"), rf"^pymalloc \d+\.\d+\.\d+ \({self.library}\)\n$")


if __name__ == "__main__":
    unittest.main()
