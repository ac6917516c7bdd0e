"""The command as a child: where something has to stay above it.

There are two reasons. The view of `--watch` needs the terminal, and gives it back before the shell goes on. And when the first process of a container
ends the system ends all others, so that nothing is left that could tell of it. Owns: the signals and stops that are passed on, and the end that
is the command's. What must hold: a child does not outlive this process, however that ends.
"""

import ctypes
import os
import resource
import signal
import sys
import tempfile
import time

from basics import OWN_FAILURE, Refusal, present, say

# What is about this process itself, so that it is not passed on.
OWN_SIGNALS = {
    signal.SIGKILL, signal.SIGSTOP, signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGTRAP,
    signal.SIGABRT, signal.SIGSYS, signal.SIGPIPE, signal.SIGXFSZ, signal.SIGXCPU,
}  # fmt: skip
# Seconds from one look to the next at whether there is something to do.
NOW_AND_THEN = 10
# Seconds that a command is given until the library is mapped into it, which happens before it runs a line of its own.
START_LIMIT = 10
# Seconds in which it must not have become another program, as `env` does at once.
STEADY = 0.1
# Seconds that the collector is given when the command has ended: as long as that would wait for it.
COLLECTOR_LIMIT = 10
# prctl's number for the signal that comes when the parent ends.
PARENT_DEATH_SIGNAL = 1


class Supervisor:
    """Commands as children. Signals that this process gets from others are passed on to one of them; those of the terminal reach it
    anyway, since it is in the same group of processes."""

    def __init__(self):
        self.taken = signal.valid_signals() - OWN_SIGNALS
        self.mask = signal.pthread_sigmask(signal.SIG_BLOCK, self.taken)
        # Ignored, it would take the exit statuses away. Before any child: setting it discards the signal of one that has ended.
        self.of_children = signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        self.receiver = None
        self.statuses = {}

    def start(self, become, output=None, last=signal.SIGKILL):
        """Starts a child that becomes something, with its output in a file and no input if one is given; gives its process id. It gets the
        last signal when this process is killed."""
        own = os.getpid()
        pid = os.fork()
        if pid == 0:
            status = OWN_FAILURE
            try:
                end_with_parent(own, last)
                signal.signal(signal.SIGCHLD, self.of_children)
                signal.pthread_sigmask(signal.SIG_SETMASK, self.mask)
                if output:
                    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
                    os.dup2(output.fileno(), 1)
                    os.dup2(output.fileno(), 2)
                become()
            except Refusal as refusal:
                say(refusal)
                status = refusal.status
            finally:
                os._exit(status)
        return pid

    def wait(self, pid):
        """Waits for the end of a child, and gives its wait status."""
        while pid not in self.statuses:
            self.pause(NOW_AND_THEN)
        return self.statuses[pid]

    def pause(self, limit):
        """Waits so many seconds, or for a signal."""
        information = signal.sigtimedwait(self.taken, limit)
        if information:
            self.handle(information)

    def handle(self, information):
        if information.si_signo == signal.SIGCHLD:
            self.reap()
        # Above 0 it comes from the kernel, and so from the terminal.
        elif information.si_code <= 0 and self.receiver not in self.statuses:
            os.kill(self.receiver, information.si_signo)

    def reap(self):
        """Notes which children have ended. While the receiver is stopped, so is this process, so that the shell sees it."""
        for pid, status in changes_of_children():
            if not os.WIFSTOPPED(status):
                self.statuses[pid] = status
            elif pid == self.receiver and os.getpid() != 1:
                os.kill(os.getpid(), signal.SIGSTOP)

    def wait_for_all(self, limit):
        """Waits until there is no child any more, orphans that came here included, so many seconds at most."""
        end = time.monotonic() + limit
        while has_children() and time.monotonic() < end:
            self.pause(STEADY)


def end_with_parent(parent, last):
    """Lets the system send this process a signal when the one above it is killed: nobody would pass on one to it any more."""
    ctypes.CDLL(None).prctl(PARENT_DEATH_SIGNAL, last, 0, 0, 0)
    if os.getppid() != parent:
        os.kill(os.getpid(), last)


def changes_of_children():
    """(process id, wait status) of every child that has ended or stopped since the last time."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG | os.WUNTRACED)
        except ChildProcessError:
            return
        if pid == 0:
            return
        yield pid, status


def has_children():
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def end_as(status):
    """Ends as the child did: with its exit status, or by its signal."""
    if os.WIFEXITED(status):
        return os.WEXITSTATUS(status)
    number = os.WTERMSIG(status)
    # One core dump is enough.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if number not in (signal.SIGKILL, signal.SIGSTOP):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
    os.kill(os.getpid(), number)
    return 128 + number


class Watch:
    """`pymalloc-watch` on the command, in this terminal. The output of the command goes to a file meanwhile."""

    def __init__(self, home):
        self.tool = present(home.watch, home.way, " watch")
        if not (sys.stdin.isatty() and sys.stdout.isatty()):
            raise Refusal(OWN_FAILURE, "--watch needs a terminal; elsewhere run pymalloc-watch PROCESS-ID in another one")
        self.log = tempfile.NamedTemporaryFile(prefix="pymalloc-run-", suffix=".log", delete=False)

    def show(self, supervisor, pid, library):
        """Returns when the watch is left, or when there is nothing to see any more."""
        seen, end = None, time.monotonic() + START_LIMIT
        while pid not in supervisor.statuses and time.monotonic() < end:
            seen, before = program_with(pid, library), seen
            if seen and seen == before:
                break
            supervisor.pause(STEADY)
        show = lambda: os.execve(self.tool, [self.tool, str(pid)], os.environ)
        # By this signal it puts the terminal back as it was.
        supervisor.wait(supervisor.start(show, last=signal.SIGTERM))
        if pid not in supervisor.statuses:
            say(f"process {pid} goes on; its output is in {self.log.name}; Ctrl-C stops it")


def program_with(pid, library):
    """The program that a process runs, once it has mapped the library."""
    try:
        with open(f"/proc/{pid}/maps", encoding="utf-8", errors="surrogateescape") as maps:
            return os.path.realpath(library) in maps.read() and os.readlink(f"/proc/{pid}/exe")
    except OSError:
        return None


def watch_it(watch, become, library):
    """Runs the command as a child and shows it; gives the exit status."""
    supervisor = Supervisor()
    pid = supervisor.receiver = supervisor.start(become, watch.log)
    watch.show(supervisor, pid, library)
    status = supervisor.wait(pid)
    say(f"the output of the command is in {watch.log.name}")
    return end_as(status)


def be_first_process(become):
    """Runs the command as a child of the first process of a container, and takes in orphans; gives the exit status."""
    supervisor = Supervisor()
    pid = supervisor.receiver = supervisor.start(become)
    status = supervisor.wait(pid)
    supervisor.wait_for_all(COLLECTOR_LIMIT)
    # It cannot be ended by a signal of its own.
    return os.WEXITSTATUS(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status)
