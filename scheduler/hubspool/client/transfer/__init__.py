"""Sends large contents to the Hub before their commit: through Xet, or through LFS on a Hub without Xet."""
