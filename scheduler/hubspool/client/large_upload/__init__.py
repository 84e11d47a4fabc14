"""`upload_large_folder`: a folder of any size, by several workers, resumed after an interruption."""
