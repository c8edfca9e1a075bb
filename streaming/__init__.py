"""The streaming path: Spark Structured Streaming over the live events."""
