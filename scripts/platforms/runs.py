"""What the platforms share: where things are, how commands are run, and the record of what was tested.

What must hold: each run is in the record with its outcome, whichever fails; a platform has failed when any run has.
"""

import json
import os
import re
import shutil
import subprocess
import time

TARGET = os.path.abspath(os.environ.get("CARGO_TARGET_DIR", "target"))
PLATFORMS = os.path.join(TARGET, "platforms")


class Failed(Exception):
    """What failed, in one line."""


def folder(name, *parts):
    return os.path.join(PLATFORMS, name, *parts)


def command(arguments, **environment):
    """Runs a command; Failed unless it ends well."""
    status = subprocess.run(arguments, env={**os.environ, **environment}).returncode
    if status:
        raise Failed(f"{' '.join(map(str, arguments[:6]))} ...: status {status}")


def lacking(programs):
    """Of a dictionary of programs or files and their packages, the packages of those that are missing."""
    is_there = lambda program: os.path.exists(program) if program.startswith("/") else shutil.which(program)
    return sorted({package for program, package in programs.items() if not is_there(program)})


def install_packages(packages):
    if not packages:
        return
    root = [] if os.geteuid() == 0 else ["sudo", "-n"]
    apt = [*root, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-y", "-q", "-o", "DPkg::Lock::Timeout=300"]
    print("installing", *packages, flush=True)
    with open(os.path.join(PLATFORMS, "install.log"), "a", encoding="utf-8") as log:
        for arguments in (["update"], ["--no-install-recommends", "install", *packages]):
            if subprocess.run([*apt, *arguments], stdout=log, stderr=log).returncode:
                raise Failed(f"apt-get could not install {' '.join(packages)} ({log.name})")


# Of packages that are unpacked without those that they need.
ALONE = """cd "$1" && export APT_CONFIG=$MMDEBSTRAP_APT_CONFIG && apt-get -qq -o APT::Sandbox::User=root download {packages} &&
    for package in *.deb; do dpkg-deb -x "$package" . && rm "$package"; done"""


def unpack(root, suite, packages, options=(), alone=(), unused=(), sources=()):
    """Unpacks packages of a Debian, and what they need, to a folder: nothing is installed, and nothing of them is run. Files like `unused` are left out."""
    complete = os.path.join(root, "complete")
    wanted = " ".join([suite, *packages, *alone])
    if os.path.exists(complete):
        with open(complete, encoding="utf-8") as file:
            if file.read() == wanted:
                return
    print("unpacking", wanted, flush=True)
    command(["rm", "-rf", root])
    hook = [f"--extract-hook={ALONE.format(packages=' '.join(alone))}"] if alone else []
    command(["mmdebstrap", "--quiet", "--variant=extract", *options, *hook, f"--include={','.join(packages)}", suite, root, *sources])
    for pattern in unused:
        command(["find", root, "-name", pattern, "-delete"])
    stay_inside(root)
    with open(complete, "w", encoding="utf-8") as file:
        file.write(wanted)


def stay_inside(root):
    """Links of the root lead to its own files, not to those of this machine."""
    for place, folders, files in os.walk(root):
        for link in (os.path.join(place, name) for name in folders + files):
            if os.path.islink(link) and os.readlink(link).startswith("/"):
                inside = root + os.readlink(link)
                os.remove(link)
                os.symlink(os.path.relpath(inside, place), link)
    # Newer Debians have but one folder for libraries.
    if not os.path.lexists(os.path.join(root, "lib")):
        os.symlink("usr/lib", os.path.join(root, "lib"))


class Rust:
    """The Rust that can compile for a target: the one in use if it has the target's libraries, or else Debian's."""

    def __init__(self, target):
        self.target = target
        self.is_debians = not self.has_target("rustc", target)
        self.cargo, self.rustc = ("/usr/bin/cargo", "/usr/bin/rustc") if self.is_debians else ("cargo", "rustc")

    @staticmethod
    def has_target(rustc, target):
        if not shutil.which(rustc):
            return False
        printed = subprocess.run([rustc, "--print", "target-libdir", "--target", target], stdout=subprocess.PIPE, text=True)
        return printed.returncode == 0 and os.path.isdir(printed.stdout.strip())

    def environment(self, **more):
        # rustup's cargo would put its own compiler first.
        return {"RUSTC": self.rustc, "CARGO": self.cargo, "RUSTDOC": "/usr/bin/rustdoc", **more} if self.is_debians else more


def without_paths():
    """Flags for a compiler that writes no path of this machine into what it makes."""
    home = os.environ.get("CARGO_HOME", os.path.expanduser("~/.cargo"))
    return [f"--remap-path-prefix={os.getcwd()}=.", f"--remap-path-prefix={home}=cargo"]


class Runs:
    """The record of one platform."""

    def __init__(self, name, c_library):
        self.name = name
        self.c_library = c_library
        self.runs = []
        self.start = time.monotonic()

    def record(self, what, version, page, passed, failed, seconds):
        self.runs.append({"what": what, "version": version, "page": page, "passed": passed, "failed": failed})
        outcome = "ok" if passed and not failed else "FAILED"
        print(f"=== {self.name}, pages of {page // 1024} KiB: {what}: {outcome}, {passed} passed, {failed} failed, {seconds:.0f} s", flush=True)

    def run(self, what, arguments, counted, version="", page=4096, **environment):
        """Runs a command and records it. `counted` finds passed and failed in what it prints."""
        print(f"\n=== {self.name}, pages of {page // 1024} KiB: {what}", flush=True)
        start = time.monotonic()
        process = subprocess.Popen(arguments, env={**os.environ, **environment}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        printed = []
        for line in process.stdout:
            printed.append(line)
            print(line, end="", flush=True)
        status = process.wait()
        passed, failed = counted("".join(printed))
        if status and not failed:
            failed = 1
        self.record(what, version, page, passed, failed, time.monotonic() - start)

    def end(self, tests):
        """Writes the record of a list of tests, and checks it."""
        with open(folder(self.name, "results.json"), "w", encoding="utf-8") as file:
            json.dump({"c_library": self.c_library, "tests": tests, "runs": self.runs}, file, indent=1)
            file.write("\n")
        self.check()

    def check(self):
        """Failed if any run was."""
        passed, failed = (sum(run[key] for run in self.runs) for key in ("passed", "failed"))
        print(f"\n{self.name}: {time.monotonic() - self.start:.0f} s\n{passed} passed, {failed} failed", flush=True)
        if failed or not passed:
            raise Failed(f"{self.name}: {failed} tests failed")


def of_cargo(printed):
    """How many tests passed and failed, by what `cargo test` prints."""
    found = re.findall(r"^test result: .* (\d+) passed; (\d+) failed", printed, re.MULTILINE)
    return sum(int(passed) for passed, _ in found), sum(int(failed) for _, failed in found)
