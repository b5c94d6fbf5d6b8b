"""gunicorn with uvicorn workers: ``gunicorn --config gunicorn.conf.py``. The environment has what hosts differ in.

The workers come from the package ``uvicorn-worker``; the module ``uvicorn.workers`` of old is deprecated.
"""

import os
import sys
from pathlib import Path

_here = Path(__file__).resolve().parent
# What 'pythonpath' would do, but for `gunicorn --check-config`, too.
sys.path[:0] = [str(_here), str(_here.parent / "guestbook")]

wsgi_app = "guestbook_site:create()"
bind = os.environ.get("GUESTBOOK_BIND", "127.0.0.1:8000")
workers = int(os.environ.get("WEB_CONCURRENCY", "4"))
worker_class = "uvicorn_worker.UvicornWorker"

# One import for all workers: less memory, and a mistake in a setting stops the start instead of each worker in turn.
# A gate may be made before the fork. (With this, new code needs a restart; SIGHUP does not load it.)
preload_app = True

# Who may say where a visitor comes from (X-Forwarded-For, X-Forwarded-Proto): the proxy's address and nobody else,
# or every visitor can choose an address. This is uvicorn's --forwarded-allow-ips. With nothing in front: empty.
forwarded_allow_ips = os.environ.get("FORWARDED_ALLOW_IPS", "")

# Seconds that an idle connection stays open. Longer than nginx keeps its own (60 s), so that it is always nginx that
# closes: otherwise a submission may meet a connection that is just being closed, and nginx must not send it again.
keepalive = 75

# Seconds for requests at work when the service is stopped. What they hold is a visitor's submission.
graceful_timeout = 30

# gunicorn 25 and later open a socket for commands; nobody here sends any.
control_socket_disable = True

errorlog = "-"
loglevel = "warning"
