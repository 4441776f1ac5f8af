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
from django_jobs.texts.printable import printable

logger = logging.getLogger(__name__)

# Between two looks without a notification, and at least.
LOOK_SECONDS = 0.4
SHORTEST_SECONDS = 0.1
# Of its time, what the database may spend on it: one part in so many.
SHARE = 10
# How long the thread lives without a watch.
LINGER_SECONDS = 2.0
# Before the next look when one failed for another reason than the database's.
FAILED_SECONDS = 5.0
MOST_WATCHES = 5000

OnStates = Callable[[dict[str, State]], None]


class TooManyWatches(RuntimeError):
    """This process follows as much as it will."""


@dataclass(eq=False, slots=True)
class Watch:
    """One page or socket that follows some topics.

    Attributes:
        topics: What is watched.
        on_states: Called on the feed's thread with the states that changed, at first with all; it must
            not block.
        seen: The digest of each topic that it was last called with.
    """

    topics: frozenset[str]
    on_states: OnStates
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

    def watch(self, topics: Iterable[str], on_states: OnStates) -> Watch:
        """Call a function with the states of some topics, now and whenever they change.

        Raises:
            TooManyWatches: Close others first.
        """
        watch = Watch(frozenset(topics), on_states)
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
        """End a watch."""
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
        notifications.subscribe(self._on_notification)
        try:
            super().run()
        finally:
            notifications.unsubscribe(self._on_notification)

    def _on_notification(self, topic: str) -> None:
        self.wake()

    def look(self) -> float:
        """Look once, and tell; end the thread when nobody has watched for a while."""
        watches = self._feed.watches()
        if watches:
            self._idle_since = None
            return self._pass_on_all(watches)
        now = time.monotonic()
        self._idle_since = self._idle_since or now
        if now - self._idle_since >= LINGER_SECONDS and self._feed.leave(self):
            self._stopping.set()
        return LINGER_SECONDS / 4

    def _pass_on_all(self, watches: list[Watch]) -> float:
        began = time.monotonic()
        self._feed.looks += 1
        found = states.read(set().union(*(watch.topics for watch in watches)), using=self.using)
        shortest = max(SHORTEST_SECONDS, (time.monotonic() - began) * SHARE)
        for watch in watches:
            self._pass_on(watch, found)
        # Woken or not, it is too early before.
        self.rest(shortest)
        return max(0.0, LOOK_SECONDS - shortest)

    def _pass_on(self, watch: Watch, found: Mapping[str, State]) -> None:
        changed = {
            topic: found[topic] for topic in watch.topics if watch.seen.get(topic) != found[topic].digest
        }
        if not changed:
            return
        watch.seen.update((topic, state.digest) for topic, state in changed.items())
        try:
            watch.on_states(changed)
        except Exception as error:  # noqa: BLE001 - one that is gone must not stop the others
            logger.debug("a watch is dropped: %s", printable(error))
            self._feed.close(watch)


_feed = Feed()


@on_fork_reset
def _leave_watches() -> None:
    global _feed
    _feed = Feed()


def feed() -> Feed:
    """Return this process's feed."""
    return _feed
