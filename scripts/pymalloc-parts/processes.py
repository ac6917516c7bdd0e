"""What is known of the processes of a command: which programs they ran, the last figures of each, and how they ended.

Owns: the ways to learn how a process ended that is not a child: from the system while its parent has not asked yet, from its pidfd afterwards
(Linux 6.15 and newer), and from what it told itself when it called `exit`. What must hold: a process is believed only about itself, and one that has
the number of an earlier process is another.
"""

import fcntl
import os
import select
import signal
import struct
import time

# PIDFD_GET_INFO, the first bytes of its structure, and the bit that asks for how the process ended.
GET_INFO = 0xC040FF0B
INFO = struct.Struct("=QQ11Ii")
INFO_EXIT = 8
# Seconds without figures after which it is looked whether a process still runs the same program: a few times the interval of figures.
QUIET = 3
# Seconds that a program may live and yet be no more than the way to the one that the process becomes: a forked child, `env`, `sh -c "exec ..."`.
BRIEF = 0.1


class Program:
    """What a process ran from the start of a program, or from its fork, to its end, or to that of the process."""

    # Points of a course that are kept, at least half of them.
    COURSE = 256

    def __init__(self, pid, event):
        self.pid, self.parent = pid, event["parent"]
        self.command = event["command"]
        self.file = None
        self.began, self.ended = event["time"], None
        # When the last figures came, these, and the table.
        self.told, self.figures, self.table = None, None, ""
        # What was in use over time: at most `COURSE` of [time, bytes], every so many of those that came.
        self.course, self.every, self.came = [], 1, 0
        # What it gave to `exit`, if it did.
        self.status = None
        self.how = None

    def up(self):
        return max(0.0, (self.ended or time.time()) - self.began)

    def age(self):
        """How much older the last figures are than the end; None when there are none."""
        return None if self.told is None else max(0.0, (self.ended or time.time()) - self.told)

    def resident(self):
        return self.figures["resident"] if self.figures else 0

    def take(self, event, table):
        """Takes what the process has told."""
        self.command = event["line"] or self.command
        self.file = program_of(self.pid) or self.file
        if "resident" in event:
            self.told = event["time"]
            self.figures = {name: event[name] for name in ("resident", "peak", "in_use", "free")}
            self.table = table
            # By the end a program has freed what it does not leave to the system.
            if event["event"] != "end":
                self.note(event["time"], event["in_use"])
        if event["event"] == "end":
            self.status, self.ended = event["status"], event["time"]

    def note(self, time, in_use):
        """Adds to the course. When that is full, every second one of it is left out, and of what comes from then on."""
        if self.came % self.every == 0:
            self.course.append((time, in_use))
        self.came += 1
        if len(self.course) > self.COURSE:
            del self.course[1::2]
            self.every *= 2

    def end(self, how, when=None):
        self.how, self.ended = how, self.ended or when or time.time()


class Process:
    def __init__(self, pid, descriptor=None):
        self.pid = pid
        self.descriptor = open_process(pid) if descriptor is None else descriptor
        self.began = start_of(pid)
        self.programs = []
        self.ended = False
        # Whether a signal ended it, or it is not known what.
        self.was_killed = False

    def has_ended(self):
        """Whether the process is no more, or waits for its parent to take note."""
        if not self.ended:
            self.ended = is_readable(self.descriptor) if self.descriptor is not None else self.is_gone()
        return self.ended

    def is_gone(self):
        state = stat_of(self.pid)
        return not state or state[0] == "Z" or start_of(self.pid) != self.began

    def finish(self):
        """Notes how the process ended."""
        program = self.programs[-1] if self.programs else None
        how = self.how_ended(program and program.status)
        if program and program.how is None:
            program.end(how)
        if self.descriptor is not None:
            os.close(self.descriptor)
            self.descriptor = None

    def how_ended(self, told):
        status = self.wait_status()
        self.was_killed = told is None and (status is None or os.WIFSIGNALED(status))
        if status is None:
            return f"exit {told}" if told is not None else "a signal or _exit"
        if os.WIFSIGNALED(status):
            number = os.WTERMSIG(status)
            try:
                return signal.Signals(number).name
            except ValueError:
                return f"signal {number}"
        return f"{'_exit' if told is None else 'exit'} {os.WEXITSTATUS(status)}"

    def wait_status(self):
        """The wait status of the process; None where the system does not tell."""
        # The parent may take note between two of these.
        for look in (self.told_by_pidfd, self.told_before_reaped, self.told_by_pidfd):
            status = look()
            if status is not None:
                return status
        return None

    def told_by_pidfd(self):
        if self.descriptor is None:
            return None
        try:
            answer = fcntl.ioctl(self.descriptor, GET_INFO, INFO.pack(INFO_EXIT, *[0] * 13))
        except OSError:
            return None
        mask, *_, status = INFO.unpack(answer)
        return status if mask & INFO_EXIT else None

    def told_before_reaped(self):
        fields = stat_of(self.pid)
        if not fields or fields[0] != "Z" or start_of(self.pid) != self.began:
            return None
        return int(fields[49])


def open_process(pid):
    """A pidfd; None where there are none."""
    try:
        return os.pidfd_open(pid)
    except (AttributeError, OSError):
        return None


def is_readable(descriptor):
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(0))


def read(path):
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return b""


def stat_of(pid):
    """What the system tells of a process, from its state on; empty when it is no more."""
    return read(f"/proc/{pid}/stat").decode(errors="replace").rpartition(")")[2].split()


def start_of(pid):
    """When a process began, in ticks since the system did; None when it is no more."""
    fields = stat_of(pid)
    return fields[19] if len(fields) > 19 else None


def program_of(pid):
    try:
        return os.readlink(f"/proc/{pid}/exe")
    except OSError:
        return None


class Processes:
    """All of a command's processes, by their numbers, and the programs of those that have ended or become others."""

    # The programs that are kept of those that have ended: where there are more, the smallest are only counted.
    KEPT = 1000

    def __init__(self, root, descriptor, begins, ends):
        """Of each process `begins` gets the pidfd, and `ends` before it is closed."""
        self.begins, self.ends = begins, ends
        self.alive = {}
        self.root = self.add(Process(root, descriptor))
        self.past = []
        self.left_out = 0
        self.most_together = 0
        # The time of the first event, and of the last.
        self.began, self.last = None, None

    def take(self, event, table, pid, uid, descriptor):
        """Takes what a process has told, if it may: those of our user, and those that are known already. The system vouches for its number and
        its user. `descriptor` makes a pidfd of it."""
        process = self.alive.get(pid)
        if uid != os.geteuid() and process is None:
            return
        begins = event["event"] in ("start", "fork")
        # A process with the number of an earlier one has come in its place: what is forked is new, and what has called `exit` does not go on.
        if process and process.programs and (event["event"] == "fork" or begins and process.programs[-1].status is not None):
            self.finish(process)
            process = None
        if process is None:
            process = self.add(Process(pid, descriptor()))
        if begins or not process.programs:
            self.begin(process, event)
        self.began, self.last = self.began or event["time"], event["time"]
        program = process.programs[-1]
        if program.how is None:
            program.take(event, table)
            self.most_together = max(self.most_together, sum(each.resident() for each in self.running()))

    def add(self, process):
        self.alive[process.pid] = process
        if process.descriptor is not None:
            self.begins(process.descriptor)
        return process

    def root_ends(self, status):
        """The command is in its last function, which waits."""
        self.root.programs[-1].end(f"exit {status}")

    def begin(self, process, event):
        program = Program(process.pid, event)
        if process.programs:
            before = process.programs[-1]
            before.end(f"exec of {event['command']}", program.began)
            if before.up() < BRIEF:
                process.programs.pop()
        process.programs.append(program)

    def running(self):
        return [process.programs[-1] for process in self.alive.values() if process.programs]

    def notice(self, ended):
        """Notes that these processes have ended, and which have become a program that tells nothing."""
        for process in ended:
            if self.alive.get(process.pid) is process:
                self.finish(process)
        for program in self.running():
            if program.how is None and program.file and (program.age() or 0) > QUIET:
                file = program_of(program.pid)
                if file and file != program.file:
                    program.end(f"exec of {os.path.basename(file)}")

    def finish(self, process):
        if process.descriptor is not None:
            self.ends(process.descriptor)
        process.finish()
        del self.alive[process.pid]
        self.past += process.programs
        if len(self.past) > self.KEPT:
            self.past.sort(key=Program.resident)
            self.left_out += len(self.past) - self.KEPT // 2
            del self.past[: -self.KEPT // 2]

    def all_programs(self):
        now = [program for process in self.alive.values() for program in process.programs]
        return sorted([*self.past, *now], key=lambda program: program.began)
