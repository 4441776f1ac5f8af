"""One thread per process that looks at the database for all who watch, and only while somebody does."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from django_jobs.live import states
from django_jobs.live.states import State
from django_jobs.models import jobs_database
from django_jobs.storage import notifications
from django_jobs.storage.components import Component
from django_jobs.storage.forks import on_fork_reset

logger = logging.getLogger(__name__)

# Between two looks when nobody says that something happened, and at least.
LOOK_SECONDS = 0.4
SHORTEST_SECONDS = 0.1
# Of its time, what the database may spend on it: one part in so many.
SHARE = 10
# How long the thread waits for somebody to watch before it ends.
LINGER_SECONDS = 2.0
# Before the next look when one failed for another reason than the database's.
FAILED_SECONDS = 5.0
MOST_WATCHES = 5000

Tell = Callable[[dict[str, State]], None]


class TooManyWatches(RuntimeError):
    """This process follows as much as it will."""


@dataclass(eq=False, slots=True)
class Watch:
    """Somebody who is told of changes.

    Attributes:
        topics: What is watched.
        tell: Called on the follower's thread with what changed, at first with all; it must not block.
    """

    topics: frozenset[str]
    tell: Tell
    seen: dict[str, str] = field(default_factory=dict)


class Feed:
    """Follows the database for one process, on a thread that lives while somebody watches.

    Args:
        using: Alias of the database; None for that of the jobs.
    """

    def __init__(self, using: str | None = None) -> None:
        self._using = using
        self._lock = threading.Lock()
        self._watches: set[Watch] = set()
        self._follower: _Follower | None = None
        #: Looks at the database so far.
        self.looks = 0

    def watch(self, topics: Iterable[str], tell: Tell) -> Watch:
        """Have a function told how topics stand, now and whenever that changes.

        Raises:
            TooManyWatches: Close others first.
        """
        watch = Watch(frozenset(topics), tell)
        with self._lock:
            if len(self._watches) >= MOST_WATCHES:
                raise TooManyWatches(f"{MOST_WATCHES} pages are followed by this process already")
            self._watches.add(watch)
            if self._follower is None or not self._follower.is_alive:
                self._follower = _Follower(self, self._using or jobs_database())
                self._follower.start()
        self.wake()
        return watch

    def close(self, watch: Watch) -> None:
        """Tell it no more."""
        with self._lock:
            self._watches.discard(watch)

    def wake(self) -> None:
        """Look now, or as soon as that is not too often."""
        follower = self._follower
        if follower is not None:
            follower.wake()

    def stop(self) -> None:
        """Forget all watches and end the thread."""
        with self._lock:
            self._watches.clear()
            follower, self._follower = self._follower, None
        if follower is not None:
            follower.stop(10)

    @property
    def is_following(self) -> bool:
        """Whether the thread lives."""
        return self._follower is not None and self._follower.is_alive

    def watches(self) -> list[Watch]:
        """Return all who watch."""
        with self._lock:
            return list(self._watches)

    def leave(self, follower: _Follower) -> bool:
        """Let a thread end if nobody watches; return whether it may."""
        with self._lock:
            if self._watches:
                return False
            # Under the lock: who watches from now on starts another.
            if self._follower is follower:
                self._follower = None
            return True


class _Follower(Component):
    """The thread of a feed.

    Args:
        feed: That it looks for.
        using: Alias of the database.
    """

    def __init__(self, feed: Feed, using: str) -> None:
        super().__init__("feed", using, mistake_seconds=FAILED_SECONDS)
        self._feed = feed
        self._idle_since: float | None = None

    def run(self) -> None:
        """Look while somebody watches."""
        notifications.subscribe(self._heard)
        try:
            super().run()
        finally:
            notifications.unsubscribe(self._heard)

    def _heard(self, topic: str) -> None:
        self.wake()

    def look(self) -> float:
        """Look once, and tell; end the thread when nobody has watched for a while."""
        watches = self._feed.watches()
        if watches:
            self._idle_since = None
            return self._tell_all(watches)
        now = time.monotonic()
        self._idle_since = self._idle_since or now
        if now - self._idle_since >= LINGER_SECONDS and self._feed.leave(self):
            self._stopping.set()
        return LINGER_SECONDS / 4

    def _tell_all(self, watches: list[Watch]) -> float:
        began = time.monotonic()
        self._feed.looks += 1
        found = states.read(set().union(*(watch.topics for watch in watches)), using=self.using)
        shortest = max(SHORTEST_SECONDS, (time.monotonic() - began) * SHARE)
        for watch in watches:
            self._tell(watch, found)
        # Woken or not, it is too early before.
        self.rest(shortest)
        return max(0.0, LOOK_SECONDS - shortest)

    def _tell(self, watch: Watch, found: Mapping[str, State]) -> None:
        changed = {
            topic: found[topic] for topic in watch.topics if watch.seen.get(topic) != found[topic].digest
        }
        if not changed:
            return
        watch.seen.update((topic, state.digest) for topic, state in changed.items())
        try:
            watch.tell(changed)
        except Exception as error:  # noqa: BLE001 - one that is gone must not keep the others from being told
            logger.debug("a watch is dropped: %s", error)
            self._feed.close(watch)


_feed = Feed()


@on_fork_reset
def _leave_watches() -> None:
    global _feed
    _feed = Feed()


def feed() -> Feed:
    """Return this process's follower."""
    return _feed
