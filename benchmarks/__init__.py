"""Performance, always as ratios: every figure stands beside a peer's that did the same work in the same run (see `docs/benchmarks.md`)."""
