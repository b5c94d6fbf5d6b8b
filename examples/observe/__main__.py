"""Run the guestbook with its metrics on this machine: ``python examples/observe``."""

from __future__ import annotations

import argparse
import logging
import os

import uvicorn
from observed import create_app

HOST = "127.0.0.1"


def main() -> None:
    """Serve until Ctrl+C. The store is ``GATEPOST_STORE``, or this process's memory."""
    parser = argparse.ArgumentParser(prog="observe", description="A guestbook behind a gate that can be watched.")
    parser.add_argument("--port", type=int, default=8000, help="default: 8000, which prometheus.yml asks")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(name)s: %(message)s")
    logging.getLogger("uvicorn.access").setLevel(logging.WARNING)
    address = f"http://{HOST}:{options.port}/"
    print(f"The guestbook: {address}  its metrics: {address}metrics", flush=True)
    app = create_app(store=os.environ.get("GATEPOST_STORE", "memory://"))
    uvicorn.run(app, host=HOST, port=options.port, log_config=None)


if __name__ == "__main__":
    main()
