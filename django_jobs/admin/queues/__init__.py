"""Pages of queues; `QueueList` in `page` makes the list's query."""
