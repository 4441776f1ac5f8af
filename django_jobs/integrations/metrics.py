"""Prometheus: what the tables say, asked when it is scraped, so that every process says the same."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from django.contrib.auth.decorators import login_not_required
from django.core.exceptions import ImproperlyConfigured
from django.db import DatabaseError, InterfaceError, connections
from django.http import HttpResponse
from django.utils.crypto import constant_time_compare
from django.views import View

from django_jobs.models import BIN_ENDS, jobs_database
from django_jobs.operations import health
from django_jobs.storage import statistics

try:
    from prometheus_client import CollectorRegistry
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
    from prometheus_client.exposition import choose_encoder
    from prometheus_client.registry import Collector
except ImportError as missing:
    raise ImportError(
        "django_jobs.integrations.metrics needs prometheus_client: pip install 'django-durable-jobs[prometheus]'"
    ) from missing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from django.http import HttpRequest, HttpResponseBase
    from prometheus_client.core import Metric

    from django_jobs.operations.reports import Report
    from django_jobs.storage.statistics import Durations, MonthTotals

#: What a label says of all queues or functions beyond as many as are named.
OTHER = "other"
OUTCOMES = {
    "SUCCESSFUL": "successful", "FAILED": "failed", "CANCELLED": "cancelled", "SKIPPED": "skipped",
    "READY": "retried",
}  # fmt: skip
_LES = [*(str(end) for end in BIN_ENDS), "+Inf"]


class JobsCollector(Collector):
    """Collects everything with eight queries, or nine, whose cost grows with what is unfinished and with how many functions there are.

    Counters start again with each month, in UTC.

    Args:
        overdue: As for `health.report`: how late is a problem.
        needs_clock: As for `health.report`.
        most_queues: Queues that labels name; those first seen in the month. The others are "other".
        most_functions: Functions that labels name, likewise. 0 leaves the metrics of functions out.
    """

    def __init__(
        self,
        *,
        overdue: timedelta = timedelta(minutes=5),
        needs_clock: bool = True,
        most_queues: int = 50,
        most_functions: int = 0,
    ) -> None:
        self._overdue = overdue
        self._needs_clock = needs_clock
        self._most_queues = most_queues
        self._most_functions = most_functions

    def describe(self) -> Iterable[Metric]:
        """Return the metrics without values: who registers this does not ask the database."""
        return [_up(), *self._families().values()]

    def collect(self) -> Iterator[Metric]:
        """Ask the database. Where it does not answer, only `django_jobs_up` has a value, which is 0."""
        using = jobs_database()
        connection = connections[using]
        was_open = connection.connection is not None
        try:
            metrics = self._ask(using)
        except (DatabaseError, InterfaceError):
            # The other collectors of this process go on.
            yield _up(0)
            return
        finally:
            # Servers of metrics begin a thread for each scrape, and nobody closes what it opened.
            if not was_open:
                connection.close()
        yield _up(1)
        yield from metrics

    def _families(self) -> dict[str, Any]:
        families = [
            CounterMetricFamily("django_jobs_runs", "Runs that ended, and attempts that will be tried again (retried), this month.", labels=["queue", "outcome"]),
            HistogramMetricFamily("django_jobs_run_duration_seconds", "From start to end of attempts that succeeded or failed, this month.", labels=["queue"]),
            HistogramMetricFamily("django_jobs_run_wait_seconds", "From when such attempts were due to their start, this month.", labels=["queue"]),
            GaugeMetricFamily("django_jobs_queue_runs", "Runs that wait: due, for their time (later), for a person (held), or for a limit, their turn, other runs or an event (blocked).", labels=["queue", "state"]),
            GaugeMetricFamily("django_jobs_queue_oldest_seconds", "How long the oldest due run has waited; 0 without one.", labels=["queue"]),
            GaugeMetricFamily("django_jobs_queue_paused", "Whether the queue is paused.", labels=["queue"]),
            GaugeMetricFamily("django_jobs_running_runs", "Runs that are executed now."),
            GaugeMetricFamily("django_jobs_jobs", "Jobs with a schedule.", labels=["status"]),
            GaugeMetricFamily("django_jobs_workers", "Processes that execute runs.", labels=["state"]),
            GaugeMetricFamily("django_jobs_worker_threads", "Threads of the workers that live."),
            GaugeMetricFamily("django_jobs_clocks", "Workers that live and have a clock."),
            GaugeMetricFamily("django_jobs_problem", "Whether something needs a look, as in `manage.py jobs status`.", labels=["code"]),
        ]  # fmt: skip
        if self._most_functions:
            families += [
                CounterMetricFamily("django_jobs_function_runs", "As django_jobs_runs, by function.", labels=["function", "outcome"]),
                CounterMetricFamily("django_jobs_function_duration_seconds", "Sum of the durations of a function's attempts, this month.", labels=["function"]),
            ]  # fmt: skip
        return {family.name: family for family in families}

    def _ask(self, using: str) -> list[Metric]:
        families = self._families()
        report = health.report(overdue=self._overdue, needs_clock=self._needs_clock)
        # By the database's clock: all processes begin the month together.
        now = datetime.fromisoformat(report["at"])
        counted = statistics.month_so_far(now, by_function=bool(self._most_functions), using=using)
        queues = _named((one.queue_name for one in counted), self._most_queues)
        self._add_counted(families, counted, queues)
        _add_report(families, report, queues, self._most_queues)
        return list(families.values())

    def _add_counted(self, families: dict[str, Any], counted: list[MonthTotals], queues: set[str]) -> None:
        by_queue = _merged(counted, lambda one: one.queue_name, queues)
        for queue_name, (outcomes, ran, waited) in by_queue.items():
            for outcome, word in OUTCOMES.items():
                families["django_jobs_runs"].add_metric([queue_name, word], outcomes.get(outcome, 0))
            for name, durations in (("duration", ran), ("wait", waited)):
                families[f"django_jobs_run_{name}_seconds"].add_metric(
                    [queue_name], _buckets(durations), durations.seconds
                )
        if self._most_functions:
            functions = _named((one.func for one in counted), self._most_functions)
            by_function = _merged(counted, lambda one: one.func, functions)
            for func, (outcomes, ran, _) in by_function.items():
                for outcome, word in OUTCOMES.items():
                    families["django_jobs_function_runs"].add_metric([func, word], outcomes.get(outcome, 0))
                families["django_jobs_function_duration_seconds"].add_metric([func], ran.seconds)


def _add_report(families: dict[str, Any], report: Report, queues: set[str], most_queues: int) -> None:
    waiting: dict[str, dict[str, float]] = {}
    for queue in report["queues"]:
        name = queue["name"]
        if name not in queues and len(queues) < most_queues:
            # What never ran has no counter that another name could fall into.
            queues.add(name)
        sums = waiting.setdefault(
            name if name in queues else OTHER,
            {"due": 0, "later": 0, "held": 0, "blocked": 0, "oldest": 0, "paused": 0},
        )
        for state in ("due", "later", "held", "blocked"):
            sums[state] += queue[state]
        sums["oldest"] = max(sums["oldest"], queue["oldest_seconds"] or 0)
        sums["paused"] = max(sums["paused"], queue["is_paused"])
    nothing: dict[str, float] = {"due": 0, "later": 0, "held": 0, "blocked": 0, "oldest": 0, "paused": 0}
    for name in sorted({*queues, *waiting}):
        sums = waiting.get(name, nothing)
        for state in ("due", "later", "held", "blocked"):
            families["django_jobs_queue_runs"].add_metric([name, state], sums[state])
        families["django_jobs_queue_oldest_seconds"].add_metric([name], sums["oldest"])
        families["django_jobs_queue_paused"].add_metric([name], sums["paused"])
    families["django_jobs_running_runs"].add_metric([], report["running"])
    for status, count in report["jobs"].items():
        families["django_jobs_jobs"].add_metric([status], count)
    totals = report["worker_totals"]
    for state, found in (("alive", totals["alive"]), ("late", totals["late"]), ("gone", totals["gone"])):
        families["django_jobs_workers"].add_metric([state], found)
    families["django_jobs_worker_threads"].add_metric([], totals["threads"])
    families["django_jobs_clocks"].add_metric([], totals["clocks"])
    problems = {problem["code"] for problem in report["problems"]}
    for code in health.CODES:
        families["django_jobs_problem"].add_metric([code], code in problems)


def _up(value: float | None = None) -> GaugeMetricFamily:
    return GaugeMetricFamily("django_jobs_up", "Whether the jobs' database answered.", value=value)


def _named(names: Iterable[str], most: int) -> set[str]:
    """Return the first of some names, by when they were first counted: whoever is among them stays."""
    first = dict.fromkeys(name for name in names if name)
    return set(list(first)[:most])


def _merged(
    counted: list[MonthTotals], name_of: Callable[[MonthTotals], str], named: set[str]
) -> dict[str, tuple[dict[str, int], Durations, Durations]]:
    merged: dict[str, tuple[dict[str, int], Durations, Durations]] = {}
    for one in counted:
        name = name_of(one) if name_of(one) in named else OTHER
        outcomes, ran, waited = merged.get(name, ({}, statistics.Durations(), statistics.Durations()))
        for outcome, count in one.summary.outcomes.items():
            outcomes[outcome] = outcomes.get(outcome, 0) + count
        merged[name] = (outcomes, _added(ran, one.summary.ran), _added(waited, one.summary.waited))
    return merged


def _added(one: Durations, other: Durations) -> Durations:
    bins = [*one.bins] or [0] * len(_LES)
    for index, count in enumerate(other.bins):
        bins[index] += count
    return statistics.Durations(one.count + other.count, one.seconds + other.seconds, tuple(bins))


def _buckets(durations: Durations) -> list[tuple[str, float]]:
    total = 0
    buckets: list[tuple[str, float]] = []
    for le, count in zip(_LES, durations.bins, strict=True):
        total += count
        buckets.append((le, total))
    return buckets


class MetricsView(View):
    """Answers a scrape, in the format that it asks for.

    ```python
    path("metrics/jobs", MetricsView.as_view(token=os.environ["METRICS_TOKEN"]))
    ```
    """

    http_method_names = ["get", "head", "options"]
    #: What a scrape has to send as `Authorization: Bearer ...`; None where something else keeps others out.
    token: str | None = None
    #: That whoever reaches the address may read it, or that a decorator around this sees to it.
    is_public: bool = False
    collector: JobsCollector | None = None

    @classmethod
    def as_view(cls, **options: Any) -> Callable[..., HttpResponseBase]:
        """Return the view.

        Raises:
            ImproperlyConfigured: Nothing says who may read it.
        """
        if not (options.get("token") or cls.token or options.get("is_public", cls.is_public)):
            raise ImproperlyConfigured(
                "MetricsView needs a token, or is_public=True where your network or a decorator keeps others out: "
                'MetricsView.as_view(token=os.environ["METRICS_TOKEN"])'
            )
        view = super().as_view(**{"collector": JobsCollector(), **options})
        # LoginRequiredMiddleware would send a scrape to the login, token or not.
        return login_not_required(view) if options.get("token") or cls.token else view

    def get(self, request: HttpRequest) -> HttpResponse:
        """Answer a scrape."""
        if self.token and not constant_time_compare(
            request.headers.get("Authorization", ""), f"Bearer {self.token}"
        ):
            return HttpResponse(
                "a bearer token is needed\n", status=401, headers={"WWW-Authenticate": "Bearer"}
            )
        body, content_type = exposition(self.collector, request.headers.get("Accept", ""))
        return HttpResponse(body, content_type=content_type)


def exposition(collector: JobsCollector | None = None, accept: str = "") -> tuple[bytes, str]:
    """Return the metrics as text, and its content type, in the format that an `Accept` header prefers."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(collector or JobsCollector())
    encode, content_type = choose_encoder(accept)
    return encode(registry), content_type
