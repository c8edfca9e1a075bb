"""The deduplication store: the ids of accepted events in sorted segments, which every micro-batch searches."""
