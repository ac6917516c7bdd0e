"""Programs that open plugins with RTLD_DEEPBIND: the library that takes the flag away comes in front, asked for or unasked for PHP."""

import os
import shutil
import subprocess
import unittest

import installed

PHP = shutil.which("php")
# A Python program that opens a library as PHP opens its extensions, and lets it free what the program allocated.
HOST = """
import ctypes, os, sys
malloc = ctypes.CDLL(None).malloc
malloc.restype, malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
plugin = ctypes.CDLL(sys.argv[1], os.RTLD_NOW | os.RTLD_DEEPBIND)
plugin.takes.argtypes = [ctypes.c_void_p]
plugin.takes(malloc(1000))
print("ok")
"""
# What it uses of the extensions that Debian's PHP opens by itself goes from extension to extension and to PHP.
SCRIPT = """<?php
foreach (range(1, 20000) as $i) $parts[] = ctype_digit("$i") ? iconv('UTF-8', 'ISO-8859-1', "\\u{e9}$i") : '';
echo count($parts), ' ', md5(implode($parts)), ' ', implode(',', get_loaded_extensions()), "\\n";
"""


class Deepbind(installed.Test):
    def setUp(self):
        super().setUp()
        self.deepbind = os.path.join(self.folder, "lib/libpymalloc-deepbind.so")
        os.symlink(os.path.join(installed.TARGET, "release/libpymalloc-deepbind.so"), self.deepbind)

    def plugin(self):
        path = self.path("plugin.so")
        source = b"#include <stdlib.h>\nvoid takes(void *block) { free(block); }\n"
        subprocess.run(["cc", "-shared", "-fPIC", "-x", "c", "-", "-o", path], input=source, check=True)
        return path

    def test_a_plugin_host_runs_when_it_is_asked_for(self):
        arguments = ["python3", self.write("host.py", HOST), self.plugin()]
        self.assertNotEqual(self.run_it(*arguments).returncode, 0, "without it the plugin frees with the C library")
        self.assertEqual(self.output("--no-deepbind", *arguments), "ok\n")

    def test_it_comes_in_front_of_the_library(self):
        self.assertIn(f"LD_PRELOAD={self.deepbind}:{self.library}\n", self.output("--no-deepbind", "--print"))
        before = {**os.environ, "LD_PRELOAD": f"{os.path.realpath(self.deepbind)}:{self.library}"}
        self.assertIn(f"LD_PRELOAD={self.deepbind}:{self.library}\n", self.output("--no-deepbind", "--print", env=before))
        self.assertNotIn("deepbind", self.output("--print"))

    def test_programs_that_are_known_get_it_unasked(self):
        for name in ("php", "php8.2", "php-fpm8.3", "php-cgi", "lsphp"):
            program = shutil.copy(shutil.which("env"), self.path(name))
            self.assertIn(f"LD_PRELOAD={self.deepbind}:{self.library}\n", self.output(program))
        script = self.write("script", f"#!{program}\n")
        self.assertIn("LD_PRELOAD=" + self.deepbind, self.output("--print", script))
        for name in ("phpunit", "python3-php"):
            self.assertNotIn("deepbind", self.output(shutil.copy(program, self.path(name))))

    def test_it_is_missed_when_it_is_not_there(self):
        os.unlink(self.deepbind)
        program = shutil.copy(shutil.which("true"), self.path("php"))
        for arguments, needs in ((["--no-deepbind", "true"], "--no-deepbind"), ([program], program)):
            done = self.run_it(*arguments)
            self.assertEqual(done.returncode, 125)
            self.assertEqual(done.stderr, f"pymalloc-run: {self.deepbind}, which {needs} needs, is not there: run make\n")

    @unittest.skipUnless(PHP, "not installed: php")
    def test_php_with_its_extensions(self):
        script = self.write("script.php", SCRIPT)
        without = subprocess.run([PHP, script], check=True, capture_output=True, text=True, timeout=installed.LIMIT).stdout
        self.assertEqual(self.output("php", script), without)


if __name__ == "__main__":
    unittest.main()
