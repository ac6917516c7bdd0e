"""Starts the collector beside the command: not above it, so that the command is the process that was started.

Owns: the two forks by which the collector is nobody's child, and what it is told. What must hold: the command has no child and no descriptor of it;
whatever keeps the collector from starting is told before the command is started.
"""

import fcntl
import json
import os
import secrets
import signal
import socket
import sys

from basics import OWN_FAILURE, Refusal, Speaker, say

# Connections that wait to be looked at: as many as the system allows.
WAITING = 4096
# Numbers from here on are not those of the standard streams.
FIRST_DESCRIPTOR = 3
MOST_DESCRIPTORS = min(max(os.sysconf("SC_OPEN_MAX"), 1 << 12), 1 << 20)
# What concerns the command and what is told of it, and not the collector.
NOT_FOR_IT = ("LD_PRELOAD", "PYTHONMALLOC", "PYMALLOC_CONF")
PROGRAM = os.path.join(os.path.dirname(os.path.abspath(__file__)), "collector.py")


def listen():
    """A socket that is no file, and its name."""
    name = f"pymalloc-run-{os.getpid()}-{secrets.token_hex(8)}"
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind("\0" + name)
    listener.listen(WAITING)
    return above_the_streams(listener.detach()), name


def above_the_streams(descriptor):
    """The same open file by a number that is not that of a stream, should one be closed."""
    if descriptor >= FIRST_DESCRIPTOR:
        return descriptor
    moved = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, FIRST_DESCRIPTOR)
    os.close(descriptor)
    return moved


def own_descriptor():
    """A pidfd of this process, which the command is going to be; None where there are none."""
    try:
        return above_the_streams(os.pidfd_open(os.getpid()))
    except (AttributeError, OSError):
        return None


def start(stats, heap_map):
    """Starts it; the settings by which processes find it."""
    root = os.getpid()
    try:
        listener, name = listen()
        root_descriptor = own_descriptor()
        plan = {"root": root, "listener": listener, "descriptor": root_descriptor, "stats": stats, "heap_map": heap_map, "name": Speaker.name}
        detach(plan)
    except OSError as error:
        raise Refusal(OWN_FAILURE, f"no collector can be started: {error.strerror}") from None
    for descriptor in (listener, root_descriptor, heap_map and heap_map.pop("lock")):
        if descriptor is not None:
            os.close(descriptor)
    return [f"collector={name}", f"collector_wait={root}"]


def detach(plan):
    """Runs the collector as a child of a child that ends at once, so that whoever adopts orphans has it."""
    pid = os.fork()
    if pid:
        try:
            os.waitpid(pid, 0)
        except ChildProcessError:
            pass  # whoever started this ignores the ends of children, and so it is gone by itself
        return
    try:
        os.setsid()
        if os.fork() == 0:
            become(plan)
    except OSError as error:
        say(f"the collector cannot be started: {error.strerror}")
    finally:
        os._exit(0)


def become(plan):
    """Is the collector from here on, under a command line of its own: that of the command is for the command."""
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        try:
            signal.signal(number, signal.SIG_DFL)
        except (OSError, ValueError):
            pass  # those that the C library keeps for itself
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM):
        # It ends when the command does; a manager of services stops the whole group at once.
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    plan["speaks"] = bool(sys.stderr)
    heap_map = plan["heap_map"] or {}
    kept = {plan["listener"], plan["descriptor"], heap_map.get("lock")} - {None}
    # What was inherited besides would stay open for as long as it runs.
    start = FIRST_DESCRIPTOR
    for descriptor in [*sorted(kept), MOST_DESCRIPTORS]:
        os.closerange(start, descriptor)
        start = descriptor + 1
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (1, *([] if sys.stderr else [2])):
        os.dup2(null, stream)
    reading, writing = os.pipe()
    os.write(writing, json.dumps(plan).encode())
    os.dup2(reading, 0)
    for descriptor in (null, reading, writing):
        if descriptor >= FIRST_DESCRIPTOR:
            os.close(descriptor)
    for descriptor in kept:
        os.set_inheritable(descriptor, True)
    environment = {name: value for name, value in os.environ.items() if name not in NOT_FOR_IT}
    os.execve(sys.executable, [sys.executable, "-I", "-S", PROGRAM], environment)
