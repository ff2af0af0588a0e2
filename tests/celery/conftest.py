"""
These tests have an environment of their own, made by ``make test-celery``.

Where Celery is not installed, they are not there.
"""

from __future__ import annotations

from importlib.util import find_spec

collect_ignore = [] if find_spec("celery") else ["test_celery.py"]
