"""The online store: state in Redis, how it is written, read, compacted and forgotten."""
