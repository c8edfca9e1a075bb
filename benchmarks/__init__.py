"""Every speed claim as a ratio to a peer, measured in one run: `python -m benchmarks`."""
