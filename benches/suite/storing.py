"""The rows of a run as they are measured, one line each, and the result made of them at the end.

Owns runs.jsonl: a first line that says of what the runs are, then one line for each run or decision, and a last one once all is
done. What must hold: every line in the file is complete, whatever happens while one is written (an interrupt, a kill, a full
disk), and lines of different libraries, allocators, workloads or options never stand in one file.
"""

import contextlib
import fcntl
import json
import os

from .places import Stop, reason


class Journal:
    """The open file of a run. `runs` are its rows, `notes` what else was decided on the way (a dictionary)."""

    def __init__(self, path, identity, started, fresh):
        """Goes on with the file when it is of the same identity and unfinished; `began` says in words what was done with it."""
        self.path = path
        try:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise Stop(f"{os.path.relpath(path)} cannot be written: {reason(error)}") from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise Stop(f"another run is at work on {os.path.relpath(path)}") from error
        # As it will be read back, where a tuple is a list.
        identity = json.loads(json.dumps(identity))
        lines = self._whole_lines()
        self.began = self._why_anew(lines, identity, fresh)
        if self.began is None:
            self.started = lines[0]["started"]
            self.runs = [line for line in lines[1:] if "workload" in line]
            self.notes = {key: value for line in lines[1:] if "workload" not in line for key, value in line.items()}
            self.began = f"going on after {len(self.runs)} runs of before (FRESH=1 starts anew)"
            return
        os.ftruncate(self._file, 0)
        self.started, self.runs, self.notes = started, [], {}
        self._append({"started": started, "identity": identity})

    def add(self, run):
        self._append(run)
        self.runs.append(run)

    def note(self, **notes):
        self._append(notes)
        self.notes.update(notes)

    def close(self):
        os.close(self._file)

    def _whole_lines(self):
        """The file's lines; half a line at its end, left by a kill, is cut off."""
        with open(self.path, "rb") as file:
            text = file.read()
        end = text.rfind(b"\n") + 1
        if end < len(text):
            os.ftruncate(self._file, end)
        try:
            return [json.loads(line) for line in text[:end].splitlines()]
        except ValueError:
            return []

    @staticmethod
    def _why_anew(lines, identity, fresh):
        """Why the runs of before are not gone on with; None when they are; empty when there is nothing to tell."""
        if not lines or "identity" not in lines[0] or fresh or "finished" in lines[-1]:
            return ""
        before = lines[0]["identity"]
        changed = [name for name in identity if before.get(name) != identity[name]]
        if not changed:
            return None
        return f"starting anew: not the same {' and '.join(changed)} as in the {len(lines) - 1} runs of before"

    def _append(self, line):
        data = json.dumps(line).encode() + b"\n"
        size = os.fstat(self._file).st_size
        try:
            written = os.write(self._file, data)
            if written < len(data):
                os.write(self._file, data[written:])
        except OSError as error:
            # Where nothing can be written, nothing was, and there is nothing to cut off.
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, size)
            raise Stop(
                f"{os.path.relpath(self.path)}: {reason(error)}; what was measured so far is kept, and the same command goes on"
            ) from error


def write_json(path, content):
    """Writes a whole file or, when that fails, leaves the old one."""
    beside = path + ".new"
    try:
        with open(beside, "w", encoding="utf-8") as file:
            json.dump(content, file, indent=1)
            file.write("\n")
        os.replace(beside, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            os.remove(beside)
        raise Stop(
            f"{os.path.relpath(path)}: {reason(error)}; the runs are kept beside it, and the same command goes on"
        ) from error
