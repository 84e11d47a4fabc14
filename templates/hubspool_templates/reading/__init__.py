"""Rows read back from a dataset: everything, or what came after an earlier read."""
