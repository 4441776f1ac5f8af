"""Which runs somebody means, and a page of them: what lists, commands, exports and bulk actions share.

`criteria` turns filters into a queryset, with `conditions`; `search_words` turns what somebody typed into
filters. `id_bounds` finds the ids between which a time lies, and `pages` reads a page, a search or a walk
through the history, each at a bounded cost.
"""

from __future__ import annotations

from django_jobs.operations.run_query.criteria import (
    LARGE_COLUMNS,
    TIMES,
    UNSUCCESSFUL,
    Criteria,
    from_address,
    run_number,
)
from django_jobs.operations.run_query.id_bounds import Bounds, bounds_of, extent
from django_jobs.operations.run_query.pages import Page, behind, page, search, walk
from django_jobs.operations.run_query.search_words import PREFIXES, WAITING, terms

__all__ = [
    "LARGE_COLUMNS", "PREFIXES", "TIMES", "UNSUCCESSFUL", "WAITING", "Bounds", "Criteria", "Page", "behind", "bounds_of", "extent",
    "from_address", "page", "run_number", "search", "terms", "walk",
]  # fmt: skip
