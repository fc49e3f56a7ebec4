# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
How fast amp_stream is, beside what else one would use.

    python -m benchmarks                   every measure, with full sizes
    python -m benchmarks --quick           the same in under two minutes, roughly
    python -m benchmarks throughput tls    some of the measures
    python -m benchmarks --list            what measures and peers there are
    python -m benchmarks --json FILE ...   keep the results
    python -m benchmarks report FILE...    make docs/benchmarks.md and its plots; of
                                           a measure that is in several, the last

A I{peer} is one way to move bytes from one process to another, in a module of its own
below C{benchmarks.peers}; a new one is a class there and an entry in the table of
C{benchmarks.catalogue}.  A I{measure} is a function below C{benchmarks.measures} that
runs some of them and returns tables; C{benchmarks.measures} lists them.

Each run has two processes, a server and a client, both of which run
C{benchmarks.worker}.  Rounds are interleaved: each peer once, then each of them again.
Ratios are taken within a round, and what is reported is the median of the rounds.
Memory is what VmHWM grew by, so this needs Linux.

As root, links of a given rate are network namespaces with a token bucket between them;
otherwise a relay limits the rate, and the results say so.  Delay is always a relay's.
"""
