"""pyperformance's tomli_loads on the first entries of its 17 MB document, which takes more than a second as a whole."""

import pyperf
import tomli
from bm_tomli_loads.run_benchmark import DATA_FILE

with open(DATA_FILE, encoding="utf-8") as file:
    entries = file.read(400_000)
# At most what ends with an entry.
document = entries[:entries.rindex("\n[[data]]\n")]

runner = pyperf.Runner()
runner.bench_func("tomli_loads", tomli.loads, document)
