"""A small JSON interface: start an ingest, and watch the jobs.

There is no login here, so that the example can be tried with curl. A real project puts its own
authentication and permissions before views like these.
"""

from __future__ import annotations

import json
from pathlib import Path

from django.conf import settings
from django.http import HttpRequest, JsonResponse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST, require_safe

from django_jobs import get_job_manager
from documents.jobs import ingest_folder

SAMPLES_DIR = Path(__file__).resolve().parent / "samples"


# Exempt: callers of this demo interface are programs, which have no page to take a token from. Nothing is
# gained by forging a request, since anyone may send one.
@csrf_exempt
@require_POST
def ingest(request: HttpRequest) -> JsonResponse:
    """Add a job that ingests a folder; answers 202 with its id before the work begins.

    The body is JSON or a form, and may name a `folder`, absolute or relative to the folder of manage.py.
    Defaults to the samples.
    """
    try:
        folder = _allowed_folder(_requested_folder(request))
    except ValueError as error:
        return JsonResponse({"error": str(error)}, status=400)
    job_id = get_job_manager().add_immediate_job(ingest_folder, str(folder))
    return JsonResponse({"job_id": job_id}, status=202)


@require_safe
def jobs(request: HttpRequest) -> JsonResponse:
    """Show the jobs that are still to run."""
    return JsonResponse({"jobs": get_job_manager().get_jobs()})


@require_safe
def job(request: HttpRequest, job_id: str) -> JsonResponse:
    """Show one job: scheduled, queued, running, or finished while history keeps it."""
    found = get_job_manager().get_job(job_id)
    if found is None:
        return JsonResponse({"error": f"There is no job {job_id!r}."}, status=404)
    return JsonResponse(found)


def _requested_folder(request: HttpRequest) -> str:
    if request.content_type != "application/json":
        return request.POST.get("folder") or str(SAMPLES_DIR)
    try:
        body = json.loads(request.body or b"{}")
    except ValueError as error:  # JSONDecodeError, and UnicodeDecodeError
        raise ValueError(f"The body is not JSON: {error}") from error
    folder = body.get("folder", str(SAMPLES_DIR)) if isinstance(body, dict) else None
    if not isinstance(folder, str):
        raise ValueError('The body must be an object such as {"folder": "var/inbox"}.')  # noqa: TRY004 - the caller's value
    return folder


def _allowed_folder(name: str) -> Path:
    try:
        # Resolved first: ".." and links must not lead out of the allowed folders.
        folder = (settings.BASE_DIR / name).resolve()
        is_folder = folder.is_dir()
    except (OSError, ValueError, RuntimeError) as error:  # too long, a NUL character, a loop of links
        raise ValueError(f"{name!r} is not a path.") from error
    # Below VAR_DIR, not VAR_DIR itself, which holds the demo's password file.
    is_allowed = folder.is_relative_to(SAMPLES_DIR) or settings.VAR_DIR in folder.parents
    if not is_allowed:
        raise ValueError(f"{name!r} is not below {SAMPLES_DIR} or {settings.VAR_DIR}.")
    if not is_folder:
        raise ValueError(f"{name!r} is not a folder.")
    return folder
