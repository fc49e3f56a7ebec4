# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
How fast amp_stream is, beside what else one would use.

    python -m benchmarks                   every measure, with full sizes
    python -m benchmarks --quick           the same in under two minutes, roughly
    python -m benchmarks throughput tls    some of the measures
    python -m benchmarks --jobs 3          three links at once, where a run needs little
    python -m benchmarks --before DIR      compare with the version in a directory, too
    python -m benchmarks --list            what measures and peers there are
    python -m benchmarks --json FILE ...   keep the results
    python -m benchmarks report FILE...    make docs/benchmarks.md and its plots; of
                                           a measure that is in several, the last
    python -m benchmarks.probe --help      one run over a link with a distance, in a
                                           line: for those who change how bulk is sent

A I{peer} is one way to move bytes from one process to another, in a module of its own
below C{benchmarks.peers}; a new one is a class there and an entry in the table of
C{benchmarks.catalogue}.  A I{measure} is a function below C{benchmarks.measures} that
runs some of them and returns tables; C{benchmarks.measures} lists them.

Each run has two processes, a server and a client, both of which run
C{benchmarks.worker}.  Rounds are interleaved: each peer once, then each of them again.
Ratios are taken within a round, and what is reported is the median of the rounds.
Memory is what VmHWM grew by, so this needs Linux.

Links need root: they are network namespaces, with C{router.c} between them, which
C{cc} compiles when it is first needed, or with a token bucket at each end where the
link is near and fast (see C{benchmarks.lab}).  Without root, measures that need a link
say so.
"""
