"""Events to try dualpath with: generated, from public datasets, replayed."""
