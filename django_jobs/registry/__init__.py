"""What code says of its jobs: decorators, options, retries, arguments, names of functions."""
