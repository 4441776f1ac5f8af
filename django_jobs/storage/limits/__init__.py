"""Limits by key: which runs may begin, which wait in a key's line, and when those are let in.

The truth is one count: the rows of a key that are RUNNING, each leased and fenced. Nothing is counted up or
given back, so nothing leaks.

- `claims` takes runs without asking, commits, and then has them counted (`gate.admitted`). Whoever claims
  last sees all others that run; so as long as each looks after its own commit, no more begin than may. Only
  where a count is too high the key is locked and counted again, and what is too many goes into its line.
- The line of a key is READY rows without `run_after`, with `waits_for` "limit": claims do not see them. Runs
  enter it where they are added (`gate.place`) and where a claim finds no room.
- Whoever ends a run lets the next ones in (`line.advance`): in the transaction that ends it, and once more
  after its commit, for what entered the line meanwhile. That may let in too many, which the claim finds.
- A sweep (`line.sweep`) at the heartbeats is the second guard, after processes that were killed in between.
"""
