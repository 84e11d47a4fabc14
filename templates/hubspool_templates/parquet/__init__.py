"""Rows with media and typed columns in Parquet files."""
