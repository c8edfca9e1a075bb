"""The offline store: record files, and training values computed from them."""
