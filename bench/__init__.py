"""The benchmarks: Sealgate beside a bare relay and a canned upstream, in one run, on pinned cores."""
