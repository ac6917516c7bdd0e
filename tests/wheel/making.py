"""The one wheel that the tests look at, and fresh virtual environments with it.

PYMALLOC_WHEEL names the wheel: `make test-wheels` does so for each that `make wheels` has built. Without it the hatchling in target/venv builds
one for this machine, of what lies under target/. What must hold: nothing is fetched from anywhere, and nothing in target/venv changes.
"""

import functools
import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
TARGET = os.path.join(ROOT, os.environ.get("CARGO_TARGET_DIR", "target"))
VENV = os.path.join(ROOT, "target/venv")
# Seconds, longer than anything here takes.
LIMIT = 120

sys.path.insert(0, os.path.join(ROOT, "benches", "python"))
import pythons

# Nobody's settings but the tests' own.
for name in ("LD_PRELOAD", "PYTHONMALLOC", "PYMALLOC_CONF", "PYTHONPATH"):
    os.environ.pop(name, None)


def run(*command, **more):
    more = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "timeout": LIMIT, **more}
    return subprocess.run(command, **more)


def output(*command, **more):
    """What a command writes to stdout; it must end well."""
    done = run(*command, **more)
    if done.returncode:
        raise AssertionError(f"{command} ends with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout


@functools.lru_cache(maxsize=None)
def folder():
    """A folder for all that is made here, until `clear`."""
    return tempfile.mkdtemp(prefix="pymalloc-wheel-test-")


def clear():
    shutil.rmtree(folder())
    for made in (folder, files, wheel, installed):
        made.cache_clear()


def built(name):
    path = os.path.join(TARGET, "release", name)
    if not os.path.exists(path):
        raise unittest.SkipTest(f"not built: {name}")
    return path


@functools.lru_cache(maxsize=None)
def files():
    """The folder with what a wheel is made of, as `make wheel-files` lays it."""
    place = os.path.join(folder(), "files")
    os.mkdir(place)
    for name, given in (("libpymalloc.so", "PYMALLOC_LIBRARY"), ("libpymalloc-deepbind.so", ""), ("pymalloc-watch", "PYMALLOC_WATCH")):
        subprocess.run(["install", "-s", "-m", "755", os.environ.get(given) or built(name), os.path.join(place, name)], check=True)
    return place


def build(name):
    """Builds a wheel into a folder of this name; gives its path."""
    if not os.path.exists(os.path.join(VENV, "with-hatchling")):
        raise unittest.SkipTest("not installed: hatchling")
    place = os.path.join(folder(), name)
    environment = {**os.environ, "PYMALLOC_WHEEL_FILES": files(), "PYTHONDONTWRITEBYTECODE": "1"}
    output(os.path.join(VENV, "bin/hatchling"), "build", "-t", "wheel", "-d", place, cwd=os.path.join(ROOT, "python"), env=environment)
    (path,) = os.listdir(place)
    return os.path.join(place, path)


@functools.lru_cache(maxsize=None)
def wheel():
    given = os.environ.get("PYMALLOC_WHEEL")
    return os.path.abspath(given) if given else build("wheel")


@functools.lru_cache(maxsize=None)
def installed(python):
    """A fresh virtual environment of a Python with the wheel in it; gives its folder, and what was there before."""
    place = os.path.join(folder(), "venv of " + re.sub(r"\W", "-", python)).replace(" ", "-")
    output(python, "-m", "venv", place)
    before = listed(place)
    output(f"{place}/bin/python", "-m", "pip", "--disable-pip-version-check", "install", "--no-index", wheel())
    return place, before


def listed(place):
    return {os.path.join(where, name) for where, _, names in os.walk(place) for name in names if not where.endswith("__pycache__")}


def beside_servers():
    """A virtual environment with the wheel, in which what is in target/venv is found too: the servers that the tests start."""
    if not os.path.exists(os.path.join(VENV, "with-recipes")):
        raise unittest.SkipTest("not installed: celery")
    place = os.path.join(folder(), "beside-servers")
    output(f"{VENV}/bin/python", "-m", "venv", "--without-pip", place)
    find = "import sysconfig; print(sysconfig.get_path('purelib'))"
    with open(os.path.join(output(f"{place}/bin/python", "-c", find).strip(), "servers.pth"), "w", encoding="utf-8") as file:
        file.write(output(f"{VENV}/bin/python", "-c", find))
    output(f"{VENV}/bin/python", "-m", "pip", "--python", f"{place}/bin/python", "--disable-pip-version-check", "install", "--no-index", wheel())
    return place


def newest():
    return pythons.interpreters()[-1].path


def each():
    """The oldest and the newest; all of them where there is time (`make test-wheels`)."""
    found = [interpreter.path for interpreter in pythons.interpreters()]
    return found if os.environ.get("PYMALLOC_WHEEL") else sorted({found[0], found[-1]})
