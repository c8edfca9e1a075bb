"""The batch path: Spark jobs over the event log."""
