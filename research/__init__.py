"""Scripts that measure what the pages of `docs` say and write these pages; what they measured is in `results`."""
