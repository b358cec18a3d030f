"""Speed and memory, measured on the machine at hand: `python -m benchmarks.run`; what was measured is in `results`."""
