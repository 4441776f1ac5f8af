"""The pages of queues: all in a list, with `figures` of each, and one with `detail`."""
