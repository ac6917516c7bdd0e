"""One measured process: started by the launcher, waited for with a time limit, turned into a row.

Owns what counts as a failure and the words for it. What must hold: whatever the process does, a row comes of it, and nothing of
it is left running. A program that did not run on the allocator that it was meant to run on has failed.
"""

import contextlib
import json
import os
import signal
import subprocess
import time

from .places import Stop

# Seconds after which a run is given up: more than ten times the longest that any takes on a slow machine.
LIMIT = 60
# How much longer the launcher itself has, to end the process and write its account.
GRACE = 5
# What the dynamic linker says when it goes on without the library.
NOT_PRELOADED = "cannot be preloaded"


class Runner:
    """Runs programs one after another. The launcher writes the account of each to a file in `directory`."""

    def __init__(self, launcher, directory, limit=LIMIT):
        self._launcher = launcher
        self._account = os.path.join(directory, "account.json")
        self._limit = limit
        # An interrupted run's must not pass for that of a launcher which does not start.
        with contextlib.suppress(FileNotFoundError):
            os.remove(self._account)

    def run(self, arguments, environment):
        """What a run gave: seconds, peak, faults, failure, and "elapsed", what it took from outside."""
        start = time.monotonic()
        account, output, errors = self._launch(arguments, environment)
        row = {"seconds": None, "peak": None, "faults": None, "failure": None}
        if account:
            row.update(peak=account["peak"], faults=account["minor_faults"] + account["major_faults"])
        report = _last_object(output)
        row["failure"] = self._failure(account, report, errors)
        if row["failure"] is None:
            row["seconds"] = report.pop("seconds")
            for key in ("series", "figures"):
                if key in report:
                    row[key] = report.pop(key)
        row["elapsed"] = round(time.monotonic() - start, 3)
        return row

    def _launch(self, arguments, environment):
        """The launcher's account of the process, empty if there is none, and what the process wrote to stdout and stderr."""
        # A session of its own: an interrupt from the keyboard is for the suite, which then ends the process itself.
        process = subprocess.Popen(
            [self._launcher, "--timeout", f"{self._limit:g}", self._account, *arguments], env=environment,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True, errors="replace", start_new_session=True,
        )
        try:
            output, errors = process.communicate(timeout=self._limit + GRACE)
        except subprocess.TimeoutExpired:
            output = errors = ""
        finally:
            _end(process)
        try:
            with open(self._account, encoding="utf-8") as file:
                account = json.load(file)
            os.remove(self._account)
            return account, output, errors
        except FileNotFoundError:
            if self._account in errors:
                raise Stop(f"{errors.strip()}; what was measured so far is kept, and the same command goes on") from None
            return {}, output, errors

    def _failure(self, account, report, errors):
        """Why a run gives no figures, in a few words, or None."""
        said = errors.strip().rpartition("\n")[2].strip()
        and_said = f": {said}" if said else ""
        if account.get("timed_out") or not account and not said:
            return f"no result within {self._limit:g} s"
        if not account:
            return f"not started{and_said}"
        if account["signal"] is not None:
            return f"killed by {signal.Signals(account['signal']).name}{and_said}"
        if account["exit"] != 0:
            return f"exit status {account['exit']}{and_said}"
        if NOT_PRELOADED in errors:
            return f"not on this allocator{and_said}"
        if report is None:
            return f"no figures in its output{and_said}"
        return None


def _end(process):
    """Ends a launcher, and with it what it has started."""
    process.terminate()
    try:
        process.wait(GRACE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    process.stdout.close()
    process.stderr.close()


def _last_object(output):
    """The JSON object with the time that a workload's last line is, or None."""
    try:
        found = json.loads(output.strip().rpartition("\n")[2])
        return found if isinstance(found["seconds"], (int, float)) else None
    except (ValueError, TypeError, KeyError):
        return None
