"""The commit client: HTTP, retries, operations and the calls of `HfApi`; usable without a scheduler."""
