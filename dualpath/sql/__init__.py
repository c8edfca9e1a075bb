"""A streaming SQL query becomes a declaration."""
