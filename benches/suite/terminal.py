"""A result in short, on a terminal: the report's first table, its warnings, and whether the machine was busy.

Owns how the table is turned, allocators down and groups across, so that it fits.
"""

from collections import Counter

from rich.markup import escape
from rich.table import Table

from .machine import BUSY
from .progress import console, say
from .report_content import SHARES, Cell, Content


def show(result):
    content = Content(result)
    rows = [(group, what, cells) for group in content.groups for what, cells in content.summary(group)]
    shared = Counter(what for _, what, _ in rows)
    tables = {}
    for group, what, cells in rows:
        # What one group alone has stands together.
        title, column = (what, group.key) if shared[what] > 1 else (group.title, what)
        tables.setdefault(title, {})[column] = [cell.text for cell in cells]
    for title, columns in tables.items():
        table = Table("", *columns, title=escape(f"{title}, ratios to the baseline"), title_justify="left", box=None)
        for column in table.columns[1:]:
            column.justify = "right"
        for allocator, *texts in zip(content.allocators, *columns.values()):
            if any(text != Cell().text for text in texts):
                table.add_row(escape(allocator.label), *map(escape, texts))
        if table.row_count:
            console.print(table)
    if content.latency:
        table = Table("", "", *(allocator.label for allocator in content.latency.allocators), title="Single calls", title_justify="left", box=None)
        for call, share, cells in content.call_rows():
            table.add_row(call if share == SHARES[0] else "", share, *(escape(cell.text) for cell in cells))
        console.print(table)
    for warning in content.warnings():
        say(warning)
    load = result["machine"]["load"]
    if load > BUSY:
        say(f"The load average was {load:.1f} at the start: something else was at work, and times may tell little.")
