"""What runs with limits did, by what their functions wrote."""

import bisect
import collections
import itertools


def most_at_once(ledger, gone=None, lost=None):
    """Return how many runs of each key were executed at the same time, at most.

    Args:
        ledger: What the functions wrote.
        gone: When processes were killed or stopped, by their ids: what they executed did not go on.
        lost: When attempts were given up for lost, by run and attempt: their worker was cut off for longer than
            its lease. What goes on of them is excepted, as the page of limits says.
    """
    gone, lost = gone or {}, lost or {}
    ends = {(line["run"], line["attempt"]): line["at"] for line in ledger.lines("ended")}
    changes = collections.defaultdict(list)
    for line in ledger.lines("began"):
        end = ends.get((line["run"], line["attempt"]), float("inf"))
        end = min(
            end, gone.get(line["pid"], float("inf")), lost.get((line["run"], line["attempt"]), float("inf"))
        )
        changes[line["key"]] += [(line["at"], 1), (end, -1)]
    most = {}
    for key, of_key in changes.items():
        now = most[key] = 0
        for _, change in sorted(of_key):
            now += change
            most[key] = max(most[key], now)
    return most


def out_of_order(ledger, key, gone, lost):
    """Return the runs of a key that began before one that was added earlier; arguments as for `most_at_once`."""
    began = [
        line
        for line in sorted(ledger.lines("began"), key=lambda line: line["at"])
        if line["key"] == key
        and line["at"] < gone.get(line["pid"], float("inf"))
        and line["at"] < lost.get((line["run"], line["attempt"]), float("inf"))
    ]
    return [later for first, later in itertools.pairwise(line["run"] for line in began) if later < first]


def most_begun(ledger, key, seconds):
    """Return how many runs of a key began within so many seconds, at most."""
    began = sorted(line["at"] for line in ledger.lines("began") if line["key"] == key)
    return max((bisect.bisect_left(began, at + seconds) - index for index, at in enumerate(began)), default=0)
