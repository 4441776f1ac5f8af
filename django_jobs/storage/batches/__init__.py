"""Batches: their runs are added, and their ends release what waits for them and end the batch."""
