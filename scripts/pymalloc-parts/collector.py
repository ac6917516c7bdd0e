"""The collector of `pymalloc run`: beside a command it learns what its processes tell, and shows and draws that when the command ends.

Owns: the socket that processes tell things to, and the order of what is done at the end. It is started by `beside`, which hands over the plan on
stdin. What must hold: killed, it takes nothing along; it ends when the last process of the command has, or before that when there is nothing more to draw;
the command that ends in an orderly way waits until all is written, so that what the shell starts next finds it; and nothing is written to
the command's stderr after its end.
"""

import json
import os
import selectors
import socket
import struct
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import drawing  # noqa: E402
import summary  # noqa: E402
from basics import Speaker, say, write_all  # noqa: E402
from processes import Processes  # noqa: E402

# Seconds that the others are given when the command was killed: a signal often reaches all of them.
GRACE = 1.0
# The same when it ended by itself, as it is held up by that: for those that end together with it.
MOMENT = 0.1
# Seconds between two looks at what tells nothing of itself.
LOOK = 1.0
# The same, while the others have their grace, and where there are no pidfds.
SOON = 0.05
# Seconds between two looks at the room that the snapshots take.
ROOM_LOOK = 10.0
# Bytes of a message: far more than any has.
MESSAGE = 1 << 20
CREDENTIALS = struct.Struct("3i")
# Seconds that the time of a message may be off.
CLOCKS = 60
# A socket's option that the module does not name.
SO_PEERPIDFD = 77
EVENTS = ("start", "fork", "figures", "end")


class Collector:
    def __init__(self, plan):
        self.plan = plan
        self.heap_map = plan["heap_map"]
        self.selector = selectors.DefaultSelector()
        # The ends of processes wake it.
        begins = lambda descriptor: self.selector.register(descriptor, selectors.EVENT_READ)
        self.processes = Processes(plan["root"], plan["descriptor"], begins, self.selector.unregister)
        self.root = self.processes.root
        self.listener = socket.socket(fileno=plan["listener"])
        self.listener.setblocking(False)
        self.selector.register(self.listener, selectors.EVENT_READ)
        # What has come of each connection so far.
        self.received = {}
        # The connection of the command that waits at its end.
        self.waiting = None
        self.next_room_look = 0.0

    # --- What comes

    def look(self, limit):
        """Waits so many seconds for something to come, and takes all that is there."""
        self.selector.select(limit)
        # All that a process has told before it ended is there when its end is seen: so the ends first, then what was told.
        ended = [process for process in self.processes.alive.values() if process.has_ended()]
        for connection in list(self.received):
            self.receive(connection)
        self.accept()
        self.processes.notice(ended)
        self.keep_room()

    def accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:  # there is no more, or it was given up
                return
            connection.setblocking(False)
            self.received[connection] = b""
            if self.receive(connection):
                self.selector.register(connection, selectors.EVENT_READ)

    def receive(self, connection):
        """Takes what has come through a connection; whether more may come."""
        try:
            while True:
                data = connection.recv(MESSAGE)
                self.received[connection] += data
                if not data or len(self.received[connection]) > MESSAGE:
                    break
        except BlockingIOError:
            return True
        except OSError:
            pass
        message = self.received.pop(connection)
        if connection.fileno() in self.selector.get_map():
            self.selector.unregister(connection)
        if not self.take(connection, message):
            connection.close()
        return False

    def take(self, connection, message):
        """Takes a message; whether its connection is to stay."""
        pid, uid, _ = CREDENTIALS.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, CREDENTIALS.size))
        head, _, table = message.partition(b"\n")
        event = event_in(head)
        if event is None:
            return False
        self.processes.take(event, printable(table), pid, uid, lambda: descriptor_of(connection))
        if event["event"] == "end" and pid == self.root.pid:
            self.processes.root_ends(event["status"])
            self.waiting = connection
        return self.waiting is connection

    def keep_room(self):
        now = time.monotonic()
        if self.heap_map and now >= self.next_room_look:
            drawing.keep_room(self.heap_map["folder"])
            self.next_room_look = now + ROOM_LOOK

    # --- What is done at the end

    def run(self):
        while not self.root.ended and not self.waiting:
            self.look(LOOK if self.root.descriptor is not None else SOON)
        end = time.monotonic() + (GRACE if self.root.was_killed else MOMENT)
        while self.others() and time.monotonic() < end:
            self.look(SOON)
        self.look(0)
        if self.plan["stats"]:
            write_all(summary.make(self.processes, Speaker.name))
        if self.heap_map:
            say(drawing.draw(self.heap_map, dict(os.environ)))
        going_on = self.others()
        if self.heap_map and not going_on:
            drawing.finish(self.heap_map)
        self.let_go()
        if self.heap_map and going_on:
            self.draw_the_rest()
            drawing.finish(self.heap_map)

    def others(self):
        return [process for process in self.processes.alive.values() if process is not self.root]

    def let_go(self):
        """The command and its stderr are nobody's concern any more."""
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 2)
        os.close(null)
        if self.waiting:
            self.waiting.close()

    def draw_the_rest(self):
        """Once more when all have ended, since some have gone on: by then there is nobody to tell."""
        while self.processes.alive:
            self.look(LOOK)
        drawing.draw(self.heap_map, dict(os.environ))


def descriptor_of(connection):
    """A pidfd of the process that has made a connection, also when it has ended meanwhile; None where the system (before Linux 6.5) has none."""
    try:
        return connection.getsockopt(socket.SOL_SOCKET, SO_PEERPIDFD)
    except OSError:
        return None


def event_in(head):
    """The event that a message begins with, if it is one: nothing of it is believed that is not of the right kind."""
    try:
        event = json.loads(head)
        numbers = ["parent"]
        if event["event"] in ("figures", "end"):
            numbers += ["resident", "peak", "in_use", "free"]
        if event["event"] == "end":
            numbers.append("status")
        if event["event"] not in EVENTS or not all(type(event[name]) is int and 0 <= event[name] < 1 << 64 for name in numbers):
            return None
        for name in ("command", "line"):
            event[name] = one_line(str(event[name]))
        # What is far from now is not the time of this machine.
        now, when = time.time(), float(event["time"])
        event["time"] = when if abs(now - when) < CLOCKS else now
        return event
    except (KeyError, TypeError, ValueError):
        return None


def one_line(text):
    """Printable text; its characters stand for bytes."""
    text = text.encode("latin-1", "replace").decode("utf-8", "replace")
    return "".join(character if character.isprintable() else " " for character in text).strip()


def printable(table):
    """The lines of a table, as far as they are text."""
    return "\n".join(map(one_line_of_table, table.decode("ascii", "replace").splitlines()))


def one_line_of_table(line):
    return "".join(character if character.isprintable() else "?" for character in line)


if __name__ == "__main__":
    plan = json.load(sys.stdin)
    os.dup2(1, 0)
    os.chdir("/")
    Speaker.name = plan["name"]
    if not plan["speaks"]:
        sys.stderr = None
    Collector(plan).run()
