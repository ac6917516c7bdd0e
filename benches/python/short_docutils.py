"""pyperformance's docutils on one folder of its documents, since rendering all of them takes seconds."""

import pyperf
from bm_docutils.run_benchmark import DOC_ROOT, build_html


def render(loops):
    return sum(build_html(DOC_ROOT / "api") for _ in range(loops))


runner = pyperf.Runner()
runner.bench_time_func("docutils", render)
