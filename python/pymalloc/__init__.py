"""The allocator that this process runs on, seen from inside: where an object lies, what is in use, what is resident.

The process must have been started on it, `pymalloc run python3 app.py`. Importing this module always works and changes nothing; what
needs the library raises `NotLoaded` where it is not there. All functions may be called from any thread, at any time.

Owns nothing: the figures are the library's, read through its C functions (`pymalloc.h`). Sizes are in bytes.
"""

import contextlib
import ctypes
import fcntl
import json
import os
import tempfile
from dataclasses import dataclass
from typing import Any, BinaryIO, Callable, Dict, Optional, Union

__all__ = ["NotLoaded", "Place", "enabled", "heapmap", "inspect", "metrics", "stats", "trim"]

# The values of `pymalloc_kind` and of `pymalloc_state`.
_KINDS = ("none", "pool", "large", "mapping", "arena")
_STATES = (None, "untouched", "free", "allocated")
# PYMALLOC_HEAPMAP_WITHOUT_BLOCKS
_WITHOUT_BLOCKS = 1


class NotLoaded(RuntimeError):
    """The library is not in this process, or is one that cannot do what was asked for."""


@dataclass(frozen=True)
class Place:
    """Where an address lies in the heap.

    Addresses are numbers. The block around the address need not begin at an object's `id`: those that the garbage collector knows
    have its header in front of them.
    """

    kind: str
    """"pool"; "large": a block of whole slots of an arena; "mapping": a block that is a mapping of its own; or "arena": in an arena,
    but in no block."""
    arena: Optional[int]
    """Where the arena starts; None for a mapping."""
    arena_size: int
    pool: int
    """Where the pool starts; for the other kinds the large block, the mapping or the free slot."""
    pool_size: int
    size_class: Optional[int]
    """Of the pool; None for the other kinds."""
    block: Optional[int]
    """Where the block around the address starts; None when there is none."""
    block_size: int
    """What the block can hold; 0 when there is none."""
    state: Optional[str]
    """Of the block: "allocated", "free", "untouched" (no byte of it was written since it came from the system), or None."""
    index: Optional[int]
    """The number of the block in its pool, from 0; None for the other kinds."""


class _Info(ctypes.Structure):
    """`pymalloc_info`"""

    _fields_ = [
        ("kind", ctypes.c_int),
        ("state", ctypes.c_int),
        ("arena", ctypes.c_size_t),
        ("arena_size", ctypes.c_size_t),
        ("pool", ctypes.c_size_t),
        ("pool_size", ctypes.c_size_t),
        ("block", ctypes.c_size_t),
        ("block_size", ctypes.c_size_t),
        ("size_class", ctypes.c_uint32),
        ("block_index", ctypes.c_uint32),
    ]


# Every function of the library that is called from here, with its arguments; all return an int.
_FUNCTIONS = {
    "pymalloc_inspect": (ctypes.c_void_p, ctypes.POINTER(_Info)),
    "pymalloc_trim": (ctypes.c_size_t,),
    "pymalloc_stats_json": (ctypes.c_int,),
    "pymalloc_heapmap": (ctypes.c_int, ctypes.c_int),
}
# What is in the process already; nothing is loaded.
_process = ctypes.CDLL(None, use_errno=True)


def _function(name: str) -> Callable[..., int]:
    try:
        function: Callable[..., int] = getattr(_process, name)
    except AttributeError:
        loaded = hasattr(_process, "pymalloc_version")
        reason = f"the libpymalloc.so in it has no {name}" if loaded else "start it with `pymalloc run python3 ...`"
        raise NotLoaded(f"pymalloc is not loaded in this process: {reason}") from None
    function.argtypes = _FUNCTIONS[name]  # type: ignore[attr-defined]
    return function


def enabled() -> bool:
    """Whether Python's objects come from pymalloc.

    False also where the library is loaded but PYTHONMALLOC is not `malloc`, or is ignored (`python3 -I`, `python3 -E`).
    """
    try:
        return inspect(object()) is not None
    except NotLoaded:
        return False


def inspect(what: Union[object, int]) -> Optional[Place]:
    """Where an object lies, or an address. None when that is not pymalloc's memory.

    A number is taken for an address: any is allowed, whatever lies there. (The object that a number itself is: `inspect(id(number))`.)
    Of an object with parts that lie elsewhere, as the array of a list's items, it is the object's own block.
    """
    function = _function("pymalloc_inspect")
    info = _Info()
    address = what if type(what) is int else id(what)
    if not 0 <= address < 1 << 64 or not function(address, ctypes.byref(info)):
        return None
    kind = _KINDS[info.kind]
    return Place(
        kind=kind,
        arena=info.arena or None,
        arena_size=info.arena_size,
        pool=info.pool,
        pool_size=info.pool_size,
        size_class=info.size_class if kind == "pool" and info.block else None,
        block=info.block or None,
        block_size=info.block_size,
        state=_STATES[info.state],
        index=info.block_index if kind == "pool" and info.block else None,
    )


def stats() -> Dict[str, Any]:
    """The library's figures, counted now by a walk over all arenas: "bytes_in_use", "resident", "arenas", "classes" and others.

    They are those of `pymalloc_stats_json` in pymalloc.h. Raises OSError when there is no descriptor or no room for the text.
    """
    function = _function("pymalloc_stats_json")
    with _scratch_file() as file:
        _checked(function(file.fileno()))
        file.seek(0)
        figures: Dict[str, Any] = json.loads(file.read())
    return figures


def _scratch_file() -> BinaryIO:
    """A file in memory, or a temporary one where Python knows none. Not a pipe, which could be too short for the text, and block."""
    if hasattr(os, "memfd_create"):
        return open(os.memfd_create("pymalloc"), "w+b")
    return tempfile.TemporaryFile()


def metrics(registry: Any = None, meter: Any = None) -> Any:
    """Registers this process's figures with prometheus_client, or with OpenTelemetry if a `meter` is given.

    Prometheus: `pymalloc.metrics()` registers with the default registry, or with `registry`, and gives the collector. OpenTelemetry:
    `pymalloc.metrics(meter=opentelemetry.metrics.get_meter("app"))` makes observable instruments, and gives them. The libraries are those of
    `pip install pymalloc[prometheus]` and `pymalloc[opentelemetry]`. The figures are counted when they are asked for. What is pinned, and the page
    floor, only `pymalloc exporter` tells, from outside.
    """
    from . import _metrics

    _function("pymalloc_stats_json")
    if meter is None:
        return _metrics.register_prometheus(registry)
    return _metrics.register_opentelemetry(meter)


def trim() -> bool:
    """Gives back to the system all memory that can be given back now. Whether there was any. There is seldom need to."""
    return bool(_function("pymalloc_trim")(0))


def heapmap(path: Union[str, "os.PathLike[str]"], blocks: bool = True) -> None:
    """Appends a snapshot of the heap to a file: a line of JSON, of which `pymalloc heapmap` makes a page to look at.

    Without `blocks` the states of single blocks are left out, and the snapshot is much shorter. Raises OSError when the file cannot be
    written.
    """
    function = _function("pymalloc_heapmap")
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
    try:
        size = None
        with contextlib.suppress(OSError):
            # As the library does it, so that snapshots of several processes do not mix. A pipe has no lock.
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            size = os.lseek(descriptor, 0, os.SEEK_END)
        try:
            _checked(function(descriptor, 0 if blocks else _WITHOUT_BLOCKS), os.fspath(path))
        except OSError:
            if size is not None:
                with contextlib.suppress(OSError):
                    os.ftruncate(descriptor, size)
            raise
    finally:
        os.close(descriptor)


def _checked(status: int, path: Optional[str] = None) -> None:
    if status != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), path)
