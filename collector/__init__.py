"""Leadlight: a self-hosted web tracker and in-page messenger."""

import os

# numpy's linear algebra, of which nothing is used here, would start a thread for each core.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

__version__ = "0.1.0"
