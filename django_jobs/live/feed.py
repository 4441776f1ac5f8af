"""One thread per process that looks at the database for all who watch, and only while somebody does."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from django.db import DatabaseError, InterfaceError

from django_jobs.live import states
from django_jobs.live.states import State
from django_jobs.models import jobs_database
from django_jobs.storage import notifications
from django_jobs.storage.connections import ConnectionBackoff, give_back

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
    """Follows the database for one process.

    Args:
        using: Alias of the database; None for that of the jobs.
    """

    def __init__(self, using: str | None = None) -> None:
        self._using = using
        self._lock = threading.Lock()
        self._watches: set[Watch] = set()
        self._thread: threading.Thread | None = None
        self._attention = threading.Event()
        self._stopping = False
        self._has_complained = False
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
            if self._thread is None:
                self._stopping = False
                self._thread = threading.Thread(target=self._serve, name="django_jobs-feed", daemon=True)
                notifications.subscribe(self._on_notification)
                self._thread.start()
        self._attention.set()
        return watch

    def close(self, watch: Watch) -> None:
        """End a watch."""
        with self._lock:
            self._watches.discard(watch)

    def wake(self) -> None:
        """Look now, or as soon as that is not too often."""
        self._attention.set()

    def stop(self) -> None:
        """Forget all watches and end the thread."""
        with self._lock:
            self._watches.clear()
            self._stopping = True
            thread = self._thread
        self._attention.set()
        if thread is not None:
            thread.join(10)

    @property
    def is_following(self) -> bool:
        """Whether the thread lives."""
        return self._thread is not None

    def _on_notification(self, topic: str) -> None:
        self._attention.set()

    def _serve(self) -> None:
        try:
            self._follow()
        finally:
            # However it ended: the next watch starts another.
            with self._lock:
                if self._thread is threading.current_thread():
                    self._end()

    def _end(self) -> None:
        self._thread = None
        notifications.unsubscribe(self._on_notification)

    def _follow(self) -> None:
        using = self._using or jobs_database()
        backoff = ConnectionBackoff("live pages", using)
        idle_since: float | None = None
        while True:
            self._attention.clear()
            with self._lock:
                watches = list(self._watches)
                if watches:
                    idle_since = None
                elif idle_since is None:
                    idle_since = time.monotonic()
                if self._stopping or (
                    idle_since is not None and time.monotonic() - idle_since >= LINGER_SECONDS
                ):
                    # Under the lock: the next watch starts another.
                    self._end()
                    break
            if watches:
                self._rest(self._look(watches, using, backoff))
            else:
                self._attention.wait(LINGER_SECONDS / 4)
        backoff.close()
        give_back()

    def _rest(self, shortest: float) -> None:
        end = time.monotonic() + shortest
        while not self._stopping and (left := end - time.monotonic()) > 0:
            # Woken or not, it is too early.
            time.sleep(min(left, 0.1))
        if not self._stopping:
            self._attention.wait(max(0.0, LOOK_SECONDS - shortest))

    def _look(self, watches: list[Watch], using: str, backoff: ConnectionBackoff) -> float:
        """Look once, and pass changes on; return the seconds until the next look at the earliest."""
        began = time.monotonic()
        self.looks += 1
        try:
            found = states.read(set().union(*(watch.topics for watch in watches)), using=using)
        except (DatabaseError, InterfaceError) as error:
            return backoff.failed(error)
        except Exception:  # a mistake of ours must not end the thread that all watches need
            if not self._has_complained:
                logger.exception("live pages cannot be followed")
            self._has_complained = True
            return FAILED_SECONDS
        backoff.worked()
        self._has_complained = False
        took = time.monotonic() - began
        for watch in watches:
            self._pass_on(watch, found)
        return max(SHORTEST_SECONDS, took * SHARE)

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
            logger.debug("a watch is dropped: %s", error)
            self.close(watch)


_feed = Feed()


def _forget_parent() -> None:
    global _feed
    _feed = Feed()


os.register_at_fork(after_in_child=_forget_parent)


def feed() -> Feed:
    """Return this process's feed."""
    return _feed
