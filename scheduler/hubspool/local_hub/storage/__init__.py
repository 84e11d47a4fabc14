"""What the local Hub keeps on the disk: accounts, git repositories, LFS objects, Xet chunks. Knows nothing of HTTP."""
