"""Pages of runs.

`page` puts them together. The list's rows come from `operations.run_query` (called in `list`), its filters
from `filters`, and what a run's own page shows is read in `detail`. `actions` has the buttons, `bulk_page`,
`export` and `retry_with_changes` the pages of their names.
"""
