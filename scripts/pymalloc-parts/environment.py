"""The environment that puts a program on the library, or takes it off.

Owns: LD_PRELOAD, PYTHONMALLOC and PYMALLOC_CONF, as a command gets them. What must hold: what the caller has set stays, but for an older build of this
library, which gives way; nothing else changes.
"""

import os
import re

import programs
from basics import OWN_FAILURE, Refusal, say

# Libraries that bring a malloc of their own, by their names: one that is preloaded in front keeps pymalloc from its work.
ALLOCATORS = re.compile(r"(je|tc|mi|sn|rp|hardened_)malloc|hoard|scudo|libmesh")
# The names of this library and of the one for plugins.
OURS = re.compile(r"libpymalloc(-deepbind)?\.so(\.\d+)*")
# The values of PYTHONMALLOC with which objects come from malloc.
ON_MALLOC = ("malloc", "malloc_debug")


def callers():
    """The environment without what Python adds to it where the locale is C."""
    environment = dict(os.environ)
    try:
        with open("/proc/self/environ", "rb") as file:
            given = file.read().split(b"\0")
    except OSError:  # no /proc
        return environment
    if not any(entry.startswith(b"LC_CTYPE=") for entry in given):
        environment.pop("LC_CTYPE", None)
    return environment


def preloaded(text):
    """The libraries that a value of LD_PRELOAD names."""
    return [path for path in re.split("[ :]+", text) if path]


def is_ours(path):
    return bool(OURS.fullmatch(os.path.basename(path)))


def preload(libraries, before):
    """LD_PRELOAD with these libraries behind what is there; another build of ours gives way."""
    names = [os.path.basename(path) for path in libraries]
    others = [path for path in preloaded(before) if not is_ours(path) and os.path.basename(path) not in names]
    for path in others:
        if ALLOCATORS.search(os.path.basename(path)):
            raise Refusal(OWN_FAILURE, f"LD_PRELOAD names {path}, whose malloc would come before pymalloc's: take it out")
    return ":".join([*others, *libraries])


def variables(environment, libraries):
    """The variables that put a command on the libraries."""
    python = environment.get("PYTHONMALLOC") or "malloc"
    return {"LD_PRELOAD": preload(libraries, environment.get("LD_PRELOAD", "")), "PYTHONMALLOC": python}


def tell_of_python(value, program, arguments):
    """Says why Python's objects will not be on the library, if that is so."""
    option = program and programs.ignores_variables(program, arguments)
    reason = f"PYTHONMALLOC={value} is kept" if value not in ON_MALLOC else f"Python's option {option} ignores PYTHONMALLOC" if option else None
    if reason:
        say(f"{reason}: Python's small objects do not come from pymalloc")


def configuration(environment, settings):
    """The variable with the settings, if there are any: what is there already comes first, and so gives way."""
    given = [item for item in [environment.get("PYMALLOC_CONF"), *settings] if item]
    return {"PYMALLOC_CONF": ",".join(given)} if given else {}


def is_off(environment):
    """Whether PYMALLOC_CONF asks for the next definition of malloc: `off` is one of its items."""
    return "off" in (item.strip() for item in environment.get("PYMALLOC_CONF", "").split(","))


def take_off(environment):
    """Leaves the library out of LD_PRELOAD; the variable goes if it names nothing else."""
    others = [path for path in preloaded(environment.pop("LD_PRELOAD", "")) if not is_ours(path)]
    if others:
        environment["LD_PRELOAD"] = ":".join(others)
