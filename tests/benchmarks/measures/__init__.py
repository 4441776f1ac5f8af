"""The measurements: each module has `measure(quick)`, which returns figures."""

# In the order in which they run; the second is whether one needs a second database.
MEASURES = {
    "setup": False,
    "enqueue": False,
    "add_many": False,
    "drain": False,
    "floor": False,
    "parts": False,
    "logs": False,
    "latency": False,
    "limits": False,
    "batches": False,
    "durable": True,
    "firing": True,
    "idle": False,
    "async_runs": False,
    "memory": False,
    "history": True,
    "find": False,
    "get_jobs": False,
    "held_snapshot": True,
    "storage": False,
}
