"""Pages of jobs.

`page` puts them together; its `get_queryset` and `JobList` make the list's query, `history` reads a job's
newest runs. `fields` shows, `actions` has the buttons, `add` and `edit` the forms.
"""
