"""Puts the page together: the HTML, its style, its scripts and the packed snapshots, as one file that needs nothing else.

Owns: the order of the scripts and how data gets into the page. All text that comes from a snapshot is inside compressed base64, but for the
title, which is escaped.
"""

import base64
import html
import json
import os

import colours
import packing
import snapshots

HERE = os.path.dirname(os.path.abspath(__file__))
# They share one scope; each uses those before it.
SCRIPTS = ("format.js", "data.js", "map.js", "pool.js", "line.js", "verdict.js", "tables.js", "main.js")
# How much lighter the colours of the size classes are on a dark page.
LIFT = 0.06


def source(name):
    with open(os.path.join(HERE, name), encoding="utf-8") as file:
        return file.read()


def make(processes):
    """The page for {(pid, command): [its snapshots]}."""
    packed = packing.pack_all(list(processes.values()))
    index, chunks = [], []

    def place(chunk):
        """The number under which the page finds a chunk."""
        if chunk is None:
            return None
        chunks.append(chunk)
        return len(chunks)

    for process in packed:
        about = dict(process.about, cells=[place(chunk) for chunk in process.cells], blocks=[place(chunk) for chunk in process.blocks])
        classes = about["classes"]
        about["colours"] = {"light": colours.of_classes(classes), "dark": colours.of_classes(classes, LIFT)}
        index.append(about)
    text = json.dumps(index, separators=(",", ":"), allow_nan=False).encode()
    data = [snapshots.compress(text), *chunks]
    elements = "\n".join(f'<script type="text/plain" id="data{number}">{encoded(chunk)}</script>' for number, chunk in enumerate(data))
    pid, command = next(iter(processes))
    title = f"{command} {pid}" if len(processes) == 1 else f"{len(processes)} processes"
    script = '"use strict";\n(() => {\n' + "\n".join(map(source, SCRIPTS)) + "\n})();"
    return (
        source("page.html")
        .replace("@TITLE@", html.escape(title))
        .replace("@STYLE@", source("page.css"))
        .replace("@SCRIPT@", script)
        .replace("@DATA@", elements)
    )


def encoded(chunk):
    return base64.b64encode(chunk).decode("ascii")
