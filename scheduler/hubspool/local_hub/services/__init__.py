"""What a repository, a commit and an upload mean. Knows the storage, and HTTP only as the status of an error."""
