"""A random schedule of deliveries, runs, nights and faults, and whether the promise holds after it."""
