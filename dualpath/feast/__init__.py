"""The plugins: Feast's online store, offline store and batch engine, and the boundary in front of them."""
