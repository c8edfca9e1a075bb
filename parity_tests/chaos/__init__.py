"""A random schedule of deliveries, runs, nights and faults, and whether the invariants hold after it."""
