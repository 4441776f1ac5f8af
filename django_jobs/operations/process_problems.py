"""What processes say is wrong with them: their workers' rows, and what this process knows of itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from django_jobs.api.manager import get_job_manager
from django_jobs.registry import discovery
from django_jobs.storage import projects

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


class Details(NamedTuple):
    """What a live worker's row says of its process, whatever anybody wrote into it."""

    worker_id: str
    host: str
    # In words.
    problems: list[str]
    # Seconds that its host's clock is ahead of the database's; 0 while it is right.
    clock_ahead: float
    # The name of its project, if that is another one than this process's.
    other_project: str | None


def read(worker_id: str, host: str, details: Any) -> Details:
    """Return what a worker's row says of its process."""
    found = details if isinstance(details, dict) else {}
    problems, ahead = found.get("problems"), found.get("clock_ahead")
    return Details(
        worker_id,
        host,
        [str(problem) for problem in problems] if isinstance(problems, list) else [],
        float(ahead) if isinstance(ahead, int | float) else 0.0,
        projects.other_name(found),
    )


def of_processes(living: Iterable[Details]) -> Iterator[tuple[str, str, int]]:
    """Yield the code, text and count of each problem that live workers tell of, and of this process's own."""
    living = list(living)
    yield from _of_this_process()
    said: dict[str, list[str]] = {}
    for one in living:
        for problem in one.problems:
            said.setdefault(problem, []).append(f"{one.worker_id} on {one.host}")
    imports = set(discovery.failures().values())
    for problem, where in said.items():
        if problem not in imports:
            yield "failing_process", f"{_names(where)}: {problem}", len(where)
    for problem in imports:
        yield "unimported_jobs", problem, 1
    hosts = {one.host: one.clock_ahead for one in living if one.clock_ahead}
    if hosts:
        off = (
            f"{host} is {abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'} the database's"
            for host, ahead in hosts.items()
        )
        yield (
            "clock_off",
            f"the clock of {_names(list(off))}: times in logs and pages differ by that. Set it, by NTP",
            len(hosts),
        )
    strangers = {one.other_project: one.host for one in living if one.other_project is not None}
    if strangers:
        yield "other_project", projects.refusal(strangers), len(strangers)


def _of_this_process() -> Iterator[tuple[str, str, int]]:
    """Yield why this process, which is to execute jobs, has not started: it has no row that could say so."""
    service = get_job_manager().service
    if service is None or service.has_started:
        return
    for problem in service.problems():
        yield "failing_process", f"this process executes no jobs: {problem}", 1


def _names(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
