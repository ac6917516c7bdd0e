"""The picture's work: three waves of memory, each built and dropped, with pauses between, as in a service between large requests.

Run in a fresh process by scripts/demo_picture.py, which watches it from outside. A wave is the syntax trees of a part of the
standard library; of each it keeps a small fact about one node in 500, as a cache would, and these survivors lie scattered
over all that the wave took.
"""

import ast
import os
import time

import demo_work

# When a wave starts, in seconds, so that runs can be laid over each other; and the share of the modules that it reads.
WAVES = [(0.5, 0.6), (3.5, 1.0), (7.0, 0.3)]
END = 9.5
KEPT_OF = 500


def sleep_until(moment):
    time.sleep(max(0.0, moment - time.monotonic()))


def wave(texts, kept):
    trees = []
    nodes = 0
    for text in texts:
        tree = ast.parse(text)
        trees.append(tree)
        for node in ast.walk(tree):
            nodes += 1
            if nodes % KEPT_OF == 0:
                kept.append((type(node).__name__, getattr(node, "lineno", 0) + 1000, f"node {nodes}"))


def main():
    texts = demo_work.sources()
    kept = []
    start = time.monotonic()
    for moment, share in WAVES:
        sleep_until(start + moment)
        wave(texts[: int(len(texts) * share)], kept)
    sleep_until(start + END)
    # Without the interpreter's own end, so that what is seen last is the pause.
    os._exit(0)


if __name__ == "__main__":
    main()
