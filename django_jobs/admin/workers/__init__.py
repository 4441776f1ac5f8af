"""The pages of workers: the `cluster` of those that live by host, and the list of all."""
