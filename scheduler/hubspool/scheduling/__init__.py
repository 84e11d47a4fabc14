"""When to push: `CommitScheduler`, its thread, its states, its exits."""
