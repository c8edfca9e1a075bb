"""Spark: the session, and events turned into records as column expressions."""
