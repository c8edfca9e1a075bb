"""The proof: served and trained values compared bit by bit, and both with a naive oracle."""
