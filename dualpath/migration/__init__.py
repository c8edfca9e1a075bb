"""Brings the data of the previous version over: a log of folders and a ledger of JSON files become a Delta table."""
