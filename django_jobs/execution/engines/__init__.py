"""What executes attempts: threads, an event loop, child processes, and executors of the project's.

A worker's side is `threads`, `event_loop`, `processes` and `executors` (the last two are a `pool`). A child's
side is `process_main`, then `process_child`; and `executor_entry`, then `executor_child`.
"""
