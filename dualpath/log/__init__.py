"""The event log: where rows lie, and the ledger that accounts for each of them."""
