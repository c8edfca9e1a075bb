"""Erasure: physically removes the rows of a person, the value of a join key, from everything that dualpath keeps."""
