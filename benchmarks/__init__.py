"""What measures speed and memory: `make bench` prints one table and fails when a bound is missed.

Everything is real: Valkey, PostgreSQL and the simulated Soundcharts as processes of their own, the
Procfile's Celery worker, and a click that ends in committed rows. `python -m benchmarks --help` says
what can be left out.
"""

from pathlib import Path

BASE_DIR = Path(__file__).resolve().parent.parent
