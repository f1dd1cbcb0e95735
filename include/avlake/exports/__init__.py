"""Exports: a table of the warehouse, with its recordings where the format holds them. One file per format."""
