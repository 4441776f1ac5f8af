"""Settings of gunicorn: `gunicorn -c gunicorn.conf.py mysite.wsgi`."""

import os

bind = f"0.0.0.0:{os.environ.get('PORT', '8000')}"
workers = int(os.environ.get("WEB_CONCURRENCY", "2"))
# Requests at once in each worker.
threads = 4
# Seconds that a worker may take to end. Longer than SHUTDOWN_SECONDS where web processes execute jobs.
graceful_timeout = 40
# A worker that ends by itself, as with max_requests, gives no sign of life while its jobs finish: longer than
# SHUTDOWN_SECONDS, or it is killed with them.
timeout = 60
