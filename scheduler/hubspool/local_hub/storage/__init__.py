"""What the local Hub keeps on disk: accounts, git repositories, LFS objects, Xet chunks. Knows nothing of HTTP."""
