"""What runs now and how long the rest takes, for a person: a bar on a terminal, a few plain lines elsewhere.

Owns the standard output while measuring. What must hold: without a terminal there is a line for each round of each group,
not for each run.
"""

import sys

from rich.console import Console
from rich.progress import BarColumn, Progress as Bar, TextColumn

# Where there is no terminal, tables have as much room as in the files of this project.
console = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else 130)


def say(text):
    console.print(text, markup=False)


def duration(seconds):
    """A time for a person: "40 s", "12 min"."""
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"


class Progress:
    def __init__(self):
        self._bar = None
        self._part = None

    def __enter__(self):
        if console.is_terminal:
            columns = TextColumn("{task.description:<44}"), BarColumn(bar_width=None), TextColumn("{task.fields[text]}")
            # Drawn between runs alone: a thread that draws would take time from what is measured.
            self._bar = Bar(*columns, console=console, transient=True, expand=True, auto_refresh=False)
            self._task = self._bar.add_task("", total=1, text="")
            self._bar.start()
        return self

    def __exit__(self, *_):
        if self._bar:
            self._bar.stop()

    def now(self, step, rounds, done, total, left):
        """Shows the step that begins: `done` of `total` runs are behind it, and about `left` seconds before it."""
        if self._bar:
            what = f"{step.round}/{rounds} {step.item.group} {step.item.key} on {step.allocator}"
            text = f"{done}/{total}, {duration(left)} left"
            self._bar.update(self._task, completed=done, total=total, text=text, description=what, refresh=True)
            return
        part = f"round {step.round} of {rounds}, {step.item.group}"
        if part != self._part:
            self._part = part
            say(f"{part}: {done} of {total} runs, about {duration(left)} left")
