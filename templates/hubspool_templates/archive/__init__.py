"""Files in zip archives."""
