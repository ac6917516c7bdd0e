"""Runs pymalloc-watch in a pseudo terminal: terminal.py TOOL PID. Prints "ok", or says what is wrong and exits with 1."""

import fcntl
import os
import pty
import re
import select
import signal
import struct
import sys
import termios
import time

# Seconds that the tool may take to draw something.
PATIENCE = 20

ENTER, LEAVE, SHOW_CURSOR = b"\x1b[?1049h", b"\x1b[?1049l", b"\x1b[?25h"
COLOUR = re.compile(rb"\x1b\[(?:\d+;)*3[0-8][;m]")
# A place for the cursor, a cleared screen, another escape sequence, or text.
PIECE = re.compile(r"\x1b\[(\d+);(\d+)H|(\x1b\[2J)|\x1b\[[0-9;?]*[A-Za-z]|([^\x1b]+)")


class Terminal:
    """The tool in a terminal of its own."""

    def __init__(self, tool, pid, columns, rows, **variables):
        self.output = b""
        # The tool's end stays open here, so that it can be asked about when the tool has ended.
        self.here, self.there = pty.openpty()
        self.resize(columns, rows)
        self.before = termios.tcgetattr(self.there)
        environment = dict(os.environ, TERM="xterm-256color", LC_ALL="C.UTF-8", **variables)
        self.child = os.fork()
        if self.child == 0:
            os.setsid()
            fcntl.ioctl(self.there, termios.TIOCSCTTY, 0)
            for descriptor in range(3):
                os.dup2(self.there, descriptor)
            os.execve(tool, [tool, "--interval", "0.1", str(pid)], environment)

    def resize(self, columns, rows):
        fcntl.ioctl(self.there, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def press(self, keys):
        os.write(self.here, keys)

    def read(self, seconds):
        """Reads what comes within so long; False when nothing does."""
        if not select.select([self.here], [], [], seconds)[0]:
            return False
        self.output += os.read(self.here, 1 << 16)
        return True

    def text(self):
        """What is on the screen now, by all that was written."""
        screen, row, column = {}, 1, 1
        for to_row, to_column, cleared, text in PIECE.findall(self.output.decode(errors="ignore")):
            if cleared:
                screen.clear()
            elif to_row:
                row, column = int(to_row), int(to_column)
            for letter in text:
                screen[row, column] = letter
                column += 1
        rows, columns = (max((place[axis] for place in screen), default=0) for axis in (0, 1))
        lines = ("".join(screen.get((row, at), " ") for at in range(1, columns + 1)) for row in range(1, rows + 1))
        return "\n".join(lines)

    def wait_for(self, text, what):
        """Waits until a text is on the screen."""
        end = time.monotonic() + PATIENCE
        while text not in self.text():
            if time.monotonic() > end:
                fail(f"{what}: {text!r} is not on the screen:\n{self.text()}")
            self.read(0.1)

    def expect_end(self, what):
        """Waits for the end of the tool, which must leave the terminal as it was."""
        end = time.monotonic() + PATIENCE
        ended, status = os.waitpid(self.child, os.WNOHANG)
        while not ended:
            if time.monotonic() > end:
                os.kill(self.child, signal.SIGKILL)
                fail(f"{what}: the tool goes on")
            self.read(0.05)
            ended, status = os.waitpid(self.child, os.WNOHANG)
        while self.read(0):
            pass
        if status != 0:
            fail(f"{what}: wait status {status}")
        if LEAVE not in self.output or SHOW_CURSOR not in self.output:
            fail(f"{what}: the screen was not restored: {self.output!r}")
        if termios.tcgetattr(self.there) != self.before:
            fail(f"{what}: the terminal's settings were not restored")
        os.close(self.here)
        os.close(self.there)


def fail(what):
    print(what)
    sys.exit(1)


def main():
    tool, pid = sys.argv[1:]

    terminal = Terminal(tool, pid, 120, 40)
    terminal.wait_for("q quit", "first look")
    for part in ("resident", "utilisation of pools", "remote frees", "untouched", "bytes▼", "arenas,"):
        if part not in terminal.text():
            fail(f"first look: no {part!r} in\n{terminal.text()}")
    if ENTER not in terminal.output or not COLOUR.search(terminal.output):
        fail(f"first look: no screen of its own, or no colours: {terminal.output!r}")
    terminal.press(b"s")
    terminal.wait_for("used▼", "sorting by the next column")
    terminal.press(b"r")
    terminal.wait_for("used▲", "turning the order round")
    terminal.press(b"h")
    terminal.wait_for("sort by the next column", "help")
    terminal.press(b" p")
    terminal.wait_for("paused", "pause")
    for size in ((80, 24), (40, 10), (7, 2), (1, 1), (100, 30)):
        terminal.resize(*size)
        terminal.read(0.3)
    terminal.output = b""
    terminal.resize(110, 30)
    terminal.wait_for("paused", "another size")
    terminal.press(b"q")
    terminal.expect_end("q")

    terminal = Terminal(tool, pid, 80, 24, NO_COLOR="1")
    terminal.wait_for("q quit", "without colours")
    if COLOUR.search(terminal.output):
        fail(f"colours in spite of NO_COLOR: {terminal.output!r}")
    os.kill(terminal.child, signal.SIGTERM)
    terminal.expect_end("SIGTERM")

    # The terminal goes away: so does the tool.
    terminal = Terminal(tool, pid, 80, 24)
    terminal.wait_for("q quit", "a terminal that goes away")
    os.close(terminal.there)
    os.close(terminal.here)
    end = time.monotonic() + PATIENCE
    while not os.waitpid(terminal.child, os.WNOHANG)[0]:
        if time.monotonic() > end:
            os.kill(terminal.child, signal.SIGKILL)
            fail("the tool goes on without a terminal")
        time.sleep(0.05)

    # Last, since the process is gone afterwards.
    terminal = Terminal(tool, pid, 80, 24)
    terminal.wait_for("q quit", "a process that ends")
    os.kill(int(pid), signal.SIGKILL)
    terminal.wait_for("has ended", "a process that ends")
    if "resident" not in terminal.text():
        fail(f"the last look is gone:\n{terminal.text()}")
    terminal.press(b"q")
    terminal.expect_end("q after the end")
    print("ok")


main()
