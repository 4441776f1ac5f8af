"""The measurements: each module has `measure(quick)`, which returns figures."""

# In the order in which they run; the second is whether one needs a second database.
MEASURES = {
    "setup": False,
    "enqueue": False,
    "add_many": False,
    "drain": False,
    "latency": False,
    "firing": True,
    "idle": False,
    "async_runs": False,
    "memory": False,
    "history": True,
    "storage": False,
}
