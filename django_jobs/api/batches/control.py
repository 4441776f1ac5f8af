"""The manager's methods about batches."""

from __future__ import annotations

from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Any

from django_jobs.api import enqueue
from django_jobs.api.async_support import async_version, sync_safe
from django_jobs.api.batch_info import BatchInfo, of_row
from django_jobs.api.batches.batch import Batch
from django_jobs.api.batches.state import State
from django_jobs.exceptions import JobLookupError
from django_jobs.models import Batch as Row
from django_jobs.models import Status, jobs_database
from django_jobs.registry.call_spec import CallSpec
from django_jobs.registry.option_checks import MAX_NAME_LENGTH, lookup_id
from django_jobs.registry.options import NO_OPTIONS, JobOptions
from django_jobs.storage import notifications
from django_jobs.storage.batches import control, members

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from django.db.models import Model

    from django_jobs.api.batches.handles import RunHandle

_CALL = {one.name for one in fields(CallSpec)}
_FAILURES = (Status.FAILED.value, Status.CANCELLED.value, Status.SKIPPED.value)


class BatchControl:
    """Makes, looks at, cancels and retries batches, with the options of the view that it is called on."""

    _options: JobOptions

    def batch(
        self,
        name: str,
        *,
        about: Model | str | None = None,
        on_end: Any = None,
        on_success: Any = None,
        on_failure: Any = None,
        failures: Collection[str] = _FAILURES,
    ) -> Batch:
        """Return a new batch, for a `with` block or to be added to until its `close`; nothing is stored yet.

        `on_end`, `on_success` and `on_failure` are jobs that the transaction that ends the batch adds, once each
        in the life of the batch. A function is called with the batch's id; a tuple has the function, its
        arguments and, if any, its keyword arguments, as in `add_many`.

        Args:
            name: What pages call it, 1 to 255 characters.
            about: What its runs and these jobs are about, as for `JobManager.using`.
            on_end: When all of its runs have ended.
            on_success: When they have, and all well.
            on_failure: When they have, and not all well.
            failures: Which ends of its runs are failures, for what waits for them and for the batch: of FAILED,
                CANCELLED and SKIPPED.

        Raises:
            ValueError: The name is empty or too long, `failures` has another word, or `about` is not saved.
            TypeError: A function cannot be called so; or as for `add_immediate_job`.
        """
        if not isinstance(name, str) or not 1 <= len(name) <= MAX_NAME_LENGTH or "\x00" in name:
            raise ValueError(f"a batch needs a name of 1 to {MAX_NAME_LENGTH} characters, not {name!r:.100}")
        unknown = set(failures).difference(_FAILURES)
        if unknown:
            raise ValueError(
                f"failures may have FAILED, CANCELLED and SKIPPED, not {min(map(repr, unknown))}"
            )
        options = self._options if about is None else JobOptions(about=about).over(self._options)
        options.validate()
        key, using = members.new_key(), jobs_database()
        wanted = {"end": on_end, "success": on_success, "failure": on_failure}
        callbacks = {
            word: _callback(options, entry, key) for word, entry in wanted.items() if entry is not None
        }
        create: Callable[[], Row] = lambda: members.create(  # noqa: E731 - a value of the state
            key, name, callbacks=callbacks, failures=sorted(failures), using=using
        )
        return Batch(State(key=key, name=name, using=using, create=create), options)

    def chain(self, *calls: Any, name: str = "") -> RunHandle:
        """Add a batch of runs that follow each other, each given the result of the one before first.

        Args:
            *calls: As for `Batch.chain`.
            name: Of the batch; the name of the last function by default.

        Returns:
            The last one's handle, to `wait` for.
        """
        if not calls:
            raise ValueError("a chain needs at least one function")
        with self.batch(name or _name_of(calls[-1])) as batch:
            return batch.chain(*calls)

    async def achain(self, *calls: Any, name: str = "") -> RunHandle:
        """Await `chain`."""
        if not calls:
            raise ValueError("a chain needs at least one function")
        async with self.batch(name or _name_of(calls[-1])) as batch:
            return await batch.achain(*calls)

    @sync_safe
    def open_batch(self, batch_id: str) -> Batch:
        """Return a batch that is there already, to add to it.

        Raises:
            JobLookupError: There is no such batch.
        """
        using = jobs_database()
        row = control.row_of(lookup_id(batch_id), using=using)
        if row is None:
            raise JobLookupError(batch_id)
        return Batch(
            State(key=row.key, name=row.name, using=using, row_id=row.pk, was_used=True), self._options
        )

    @sync_safe
    def get_batch(self, batch_id: str) -> BatchInfo | None:
        """Return a batch as a plain dict, shaped as `django_jobs.BatchInfo`; None when there is none."""
        row = control.row_of(lookup_id(batch_id), using=jobs_database())
        return None if row is None else of_row(row)

    @sync_safe
    def cancel_batch(self, batch_id: str) -> bool:
        """Cancel what waits of a batch, and ask what runs of it to end; it takes no more.

        Returns:
            False when there is no such batch, or it has ended.
        """
        using = jobs_database()
        row = control.row_of(lookup_id(batch_id), using=using)
        is_cancelled = row is not None and control.cancel(row.pk, using=using)
        notifications.notify_local(notifications.FINISHED)
        return is_cancelled

    @sync_safe
    def retry_batch(self, batch_id: str) -> int:
        """Make what failed of a batch READY again; what was cancelled or skipped for it waits for it again.

        Returns:
            How many runs are retried by themselves; 0 when there is no such batch.
        """
        using = jobs_database()
        row = control.row_of(lookup_id(batch_id), using=using)
        return 0 if row is None else control.retry(row.pk, using=using)

    aopen_batch = async_version(open_batch)
    aget_batch = async_version(get_batch)
    acancel_batch = async_version(cancel_batch)
    aretry_batch = async_version(retry_batch)


def _name_of(call: Any) -> str:
    func = enqueue.entry_of(call)[0]
    # A Task has its function, and no name of its own.
    return str(getattr(getattr(func, "func", func), "__name__", func))[:MAX_NAME_LENGTH]


def _callback(options: JobOptions, entry: Any, key: str) -> dict[str, Any]:
    func, args, kwargs = enqueue.entry_of(entry)
    if not isinstance(entry, tuple | list):
        args = (key,)
    run, _ = enqueue.new_part(options, func, args, kwargs)
    return {name: value for name, value in asdict(run).items() if name in _CALL}


def batch_of_run(row_id: int, run_id: int) -> Batch:
    """Return the batch that a run is of, as `current_run().batch` has it; its row is read when it is needed."""
    return Batch(State(using=jobs_database(), row_id=row_id, from_run=run_id, was_used=True), NO_OPTIONS)
