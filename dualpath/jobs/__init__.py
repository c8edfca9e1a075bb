"""The jobs: the stream, the night, the rebuild of lost state."""
