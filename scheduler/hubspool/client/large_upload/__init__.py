"""`upload_large_folder`: uploads a folder of any size with several workers, and resumes after an interruption."""
