"""Objects of all kinds, threads, a fork and a pool of processes.

Runs on every CPython from 3.8 on, with the standard library alone. What is
printed is the same on every malloc and never holds an address.
"""

import array
import ctypes
import gc
import hashlib
import json
import mmap
import multiprocessing
import os
import pickle
import random
import re
import sqlite3
import sys
import threading
import warnings
import weakref
import zlib

# To fork beside threads is what is tried here; the newer versions warn of it.
warnings.simplefilter("ignore", DeprecationWarning)


def digest(text):
    return hashlib.sha256(text.encode()).hexdigest()[:16]


class Node:
    def __init__(self, name):
        self.name = name
        self.links = []
        self.parent = None


def objects(numbers):
    table = {}
    for i in range(20_000):
        key = "key %d" % numbers.randrange(8_000)
        if numbers.random() < 0.6:
            table[key] = (i, float(i), [key] * (i % 9), {i % 7, i % 11}, bytes(i % 600), 3 ** (i % 200))
        else:
            table.pop(key, None)
    print("table", len(table), digest(repr(sorted((k, v[:3], len(v[4]), v[5]) for k, v in table.items()))))
    text = json.dumps({k: v[:3] for k, v in sorted(table.items())})
    assert json.loads(text).keys() == table.keys()
    packed = zlib.compress(pickle.dumps(table, 4))
    assert pickle.loads(zlib.decompress(packed)) == table
    print("json", digest(text), len(re.findall(r'"key (\d)\1+"', text)))


def cycles():
    alive = []
    for i in range(8_000):
        node, other = Node("a%d" % i), Node("b%d" % i)
        node.links.append(other)
        other.parent = node
        if i % 100 == 0:
            alive.append(weakref.ref(node))
            alive.append(node)
    del node, other
    alive = [node for node in alive if isinstance(node, Node)]
    gc.collect()
    print("cycles", len(alive), sum(isinstance(thing, Node) for thing in gc.get_objects()))


def growth(numbers):
    rows, blob, line = [], bytearray(), ""
    for i in range(1500):
        rows.append([i] * numbers.randrange(2000))
        blob += bytes([i & 255]) * numbers.randrange(3000)
        line += "%x" % i
        if i % 5 == 0:
            rows[numbers.randrange(len(rows))] = None
        if i % 700 == 0:
            del blob[: len(blob) // 2]
    doubles = array.array("d", range(300_000))
    doubles.extend(doubles)
    print("growth", sum(len(row) for row in rows if row), zlib.crc32(blob), len(line), sum(doubles))


def threads():
    handed, lock = [], threading.Lock()

    def work(seed):
        numbers = random.Random(seed)
        for i in range(40):
            made = {str(numbers.random()): [seed] * numbers.randrange(100) for _ in range(150)}
            with lock:
                handed.append(made)
                taken = handed.pop(0) if len(handed) > 20 else None
            del taken

    for _ in range(3):
        group = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
        for thread in group:
            thread.start()
        for thread in group:
            thread.join()
    print("threads", len(handed))


def fork():
    stop = threading.Event()

    def busy():
        while not stop.is_set():
            [str(i) for i in range(500)]

    group = [threading.Thread(target=busy) for _ in range(3)]
    for thread in group:
        thread.start()
    for i in range(10):
        child = os.fork()
        if child == 0:
            made = [[str(k) for k in range(100)] for _ in range(100)]
            os._exit(len(made))
        status = os.waitpid(child, 0)[1]
        assert os.WEXITSTATUS(status) == 100, status
    stop.set()
    for thread in group:
        thread.join()
    print("forked")


def square(number):
    return number * number, "x" * number


def processes():
    with multiprocessing.get_context("fork").Pool(2) as pool:
        results = pool.map(square, range(2000), chunksize=50)
    print("processes", sum(number + len(text) for number, text in results))


def outside():
    buffers = [ctypes.create_string_buffer(b"pool", 10 + i * 37) for i in range(500)]
    structure = type("Pair", (ctypes.Structure,), {"_fields_": [("a", ctypes.c_long), ("b", ctypes.c_double * 9)]})
    pairs = (structure * 1000)()
    for i, pair in enumerate(pairs):
        pair.a = i
    with mmap.mmap(-1, 1 << 20) as memory:
        memory[4096:4100] = b"page"
        print("mmap", memory.find(b"page"))
    print("ctypes", sum(len(buffer) for buffer in buffers), sum(pair.a for pair in pairs))
    database = sqlite3.connect(":memory:")
    database.execute("create table block (size integer, name text)")
    database.executemany("insert into block values (?, ?)", ((i % 512, "b%d" % i) for i in range(30_000)))
    print("sqlite", database.execute("select size, count(*), max(name) from block group by 1 order by 2 desc, 1").fetchone())


def main():
    numbers = random.Random(1)
    objects(numbers)
    cycles()
    growth(numbers)
    threads()
    fork()
    processes()
    outside()
    sys.stdout.flush()


main()
