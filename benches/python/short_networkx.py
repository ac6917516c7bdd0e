"""pyperformance's networkx bodies on a part of their graph: reading all of its million edges takes ten seconds.

Reads it and searches it, so that both the building of a large graph and the work on it are timed.
"""

import gzip
import itertools
import os

import bm_networkx
import networkx
import pyperf

DATA_FILE = os.path.join(list(bm_networkx.__path__)[0], "data", "amazon0302.txt.gz")
LINES = 5000

with gzip.open(DATA_FILE, "rt", encoding="utf-8") as file:
    edges = list(itertools.islice(file, LINES))


def read_and_search():
    graph = networkx.parse_adjlist(edges)
    networkx.number_connected_components(graph)
    return networkx.single_source_shortest_path(graph, "0")


runner = pyperf.Runner()
runner.bench_func("networkx", read_and_search)
