"""Which runs somebody means, and a page of them: what lists, commands, exports and bulk actions share.

`criteria` turns filters into a queryset, `id_bounds` finds the ids between which a time lies, and `pages`
reads a page, a search or a walk through the history, each at a bounded cost.
"""

from __future__ import annotations

from django_jobs.operations.run_query.criteria import (
    LARGE_COLUMNS,
    UNSUCCESSFUL,
    WAITING,
    Criteria,
    from_address,
    run_number,
)
from django_jobs.operations.run_query.id_bounds import Bounds, bounds_of, extent
from django_jobs.operations.run_query.pages import Page, behind, page, search, walk

__all__ = [
    "LARGE_COLUMNS", "UNSUCCESSFUL", "WAITING", "Bounds", "Criteria", "Page", "behind", "bounds_of", "extent",
    "from_address", "page", "run_number", "search", "walk",
]  # fmt: skip
