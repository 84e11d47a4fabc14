"""The rules of the Hub: repositories, commits, uploads. Knows the storage; of HTTP only the status of an error."""
