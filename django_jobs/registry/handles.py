"""What adding a job returns: its id, which also knows how to ask for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

from asgiref.sync import sync_to_async

from django_jobs.exceptions import JobLookupError
from django_jobs.registry.managers import provided_manager

if TYPE_CHECKING:
    from collections.abc import Coroutine

R_co = TypeVar("R_co", covariant=True)
T = TypeVar("T")


class JobHandle(str, Generic[R_co]):
    """The id of a job that was added: a plain `str` to JSON, pickle, databases, `==`, `hash` and f-strings.

    It asks the database only where it is told to, each time again. What it asks is about the job's newest run,
    as everything that takes an id.

    Args:
        job_id: Of the job.
        is_new: Whether the call added it; False where `unique`, `debounce` or `on_conflict` left it at the one
            that is there.
    """

    # Through a dict: a subclass of `str` has no slots of its own.
    is_new: bool = True

    def __new__(cls, job_id: str, *, is_new: bool = True) -> JobHandle[R_co]:
        """Make a handle of an id."""
        handle = super().__new__(cls, job_id)
        if not is_new:
            # Most have no dict: of a million, that is 180 MB.
            handle.is_new = False
        return handle

    def __reduce__(self) -> tuple[type[str], tuple[str]]:
        """Pickle and copy the id alone."""
        return str, (str(self),)

    @overload
    def wait(self: JobHandle[Coroutine[Any, Any, T]], timeout: float | None = None) -> T: ...
    @overload
    def wait(self: JobHandle[T], timeout: float | None = None) -> T: ...
    def wait(self, timeout: float | None = None) -> Any:
        """Wait for the job to end, and return what its function returned; see `JobManager.wait`."""
        return provided_manager().wait(str(self), timeout)

    @overload
    async def await_end(self: JobHandle[Coroutine[Any, Any, T]], timeout: float | None = None) -> T: ...
    @overload
    async def await_end(self: JobHandle[T], timeout: float | None = None) -> T: ...
    async def await_end(self, timeout: float | None = None) -> Any:
        """Await `wait`, without holding a thread meanwhile."""
        return await provided_manager().await_job(str(self), timeout)

    @property
    def status(self) -> str:
        """Where the job stands, in one query or two: queued, running, successful and so on, as in `get_job`.

        Raises:
            JobLookupError: There is no such job, or no longer.
        """
        job = provided_manager().get_job(str(self))
        if job is None:
            raise JobLookupError(str(self))
        status: str = job["status"]
        return status

    @property
    def result(self) -> Any:
        """What the function returned, once the job has ended: `wait` without waiting.

        Raises:
            TimeoutError: It has not ended.
            JobFailed: It ended without success; all others as `JobManager.wait`.
        """
        return provided_manager().wait(str(self), 0)

    async def astatus(self) -> str:
        """Await `status`."""
        return await sync_to_async(lambda: self.status)()

    async def aresult(self) -> Any:
        """Await `result`."""
        return await provided_manager().await_job(str(self), 0)
