"""The durable queue: the only room with SQL, and the only writer of run states."""
