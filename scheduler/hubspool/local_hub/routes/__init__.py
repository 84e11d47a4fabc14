"""HTTP requests and answers, one module for each part of the API. `table` lists all routes; services do the work."""
