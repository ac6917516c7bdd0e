"""The suite behind `make bench`: pymalloc beside its peers on C programs, on CPython, and in memory scenarios.

Each module here is one part, and may use those above it only:

    places      where sources are and results go; the one exception that ends a run with one line
    groups      what groups of workloads are called and compared with
    machine     what machine this is
    statistics  medians, ratios and their intervals from the runs of a result
    build       the C programs, compiled
    workloads   the workloads that there are, made ready to run
    plan        what is to be run: workloads, allocators, rounds, in what order
    running     one measured process, from its environment to its row
    storing     the rows as they come, and the result made of them
    progress    what runs now and how long the rest takes, for a person
    measuring   all the runs of a plan, in their order, resumed or from the start
    report      the page for a person, with report_*
    terminal    the same in short
    bench       one whole run, from the choice to the report
    check       a result against an older one
    __main__    the command line
"""
