"""pyperformance's pprint on a part of its data, since one pass over all of it takes more than a second."""

import pyperf
from bm_pprint.run_benchmark import p, printable

runner = pyperf.Runner()
runner.bench_func("pprint", p.pformat, printable[:4000])
