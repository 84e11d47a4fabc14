"""One push: scan, plan, transfer, commit, acknowledge."""
