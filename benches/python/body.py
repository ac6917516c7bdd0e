"""Runs one body in this process and prints {"seconds": time of its timed loops} as the last line.

    body.py BENCHMARKS SCRIPT LOOPS [the script's own ARGUMENTS...]

What it is: pyperf's worker mode with a fixed number of loops and nothing else: no calibration, no warm-up, one value.
pyperf does the timing. BENCHMARKS is the folder of pyperformance's bodies, which our own scripts import from.

What must always hold: the process runs the body from its first allocation on with the allocator and the settings that
it was started with, and starts no other process.
"""

import importlib.machinery
import importlib.util
import json
import os
import sys

import pyperf
from pyperf._worker import WorkerProcessTask

benchmarks, script, loops, *arguments = sys.argv[1:]

# What pyperf collects about the machine is not used here, and finding it starts a process and a dozen more imports.
WorkerProcessTask.collect_metadata = lambda task: {}
# Bodies that write files do so in the virtual environment, which is under target/.
os.environ["TMPDIR"] = os.path.join(sys.prefix, "tmp")

result = os.memfd_create("result")
# Of a script that times several functions only the first is run.
sys.argv = [script, "--worker", "--worker-task=0", "--warmups=0", "--values=1", "--loops=" + loops,
            "--pipe=%d" % os.dup(result), *arguments]
sys.path[0] = os.path.dirname(script)
sys.path.append(benchmarks)

# Not runpy, which compiles the script anew each time.
loader = importlib.machinery.SourceFileLoader("__main__", script)
sys.modules["__main__"] = importlib.util.module_from_spec(importlib.util.spec_from_loader("__main__", loader))
loader.exec_module(sys.modules["__main__"])

os.lseek(result, 0, os.SEEK_SET)
with open(result, encoding="utf-8") as file:
    benchmark = pyperf.Benchmark.loads(file.read())
print(json.dumps({"seconds": benchmark.get_values()[0] * benchmark.get_total_loops()}))
