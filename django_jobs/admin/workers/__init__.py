"""Pages of workers; `WorkerList` and `get_queryset` in `page` make the list's query."""
