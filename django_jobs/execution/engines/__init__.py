"""What executes runs: `concurrent.futures.Executor`s by name."""
