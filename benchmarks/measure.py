"""Measure one thing on one database, in a process of its own, and write the figures as JSON.

The environment names the database, the broker and the API: `__main__` starts this.
"""

import argparse
import json
import logging
import signal
import sys
from pathlib import Path

import django
from django.conf import settings
from django.core.management import call_command


def main() -> None:
    """Make the tables, measure, and write the figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.measure", description=__doc__)
    parser.add_argument("what", choices=("fetching", "people", "scaling", "memory", "growth", "audience"))
    parser.add_argument("--folder", type=Path, required=True, help="for logs, and for figures.json")
    parser.add_argument("--tracks", type=int, nargs="+", required=True)
    parser.add_argument("--seconds", type=float, help="when fetching is given up")
    options = parser.parse_args()
    # So that the workers, which are not of this process group, are ended as well.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    # Pages name their static files without a collectstatic first.
    settings.STORAGES["staticfiles"] = {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}
    django.setup()
    # The table is what people read; the workers' logs, which cost time as in production, go to a file.
    logging.disable(logging.INFO)
    call_command("migrate", verbosity=0)

    from benchmarks.audience import measure_audience
    from benchmarks.fetching import measure_fetching, measure_memory, measure_scaling
    from benchmarks.growth import measure_growth
    from benchmarks.people import measure_people

    folder, tracks = options.folder, options.tracks
    if options.what == "fetching":
        figures = measure_fetching(folder, tracks=tracks[0], seconds=options.seconds)
    elif options.what == "people":
        figures = measure_people(folder, tracks=tracks[0])
    elif options.what == "scaling":
        figures = measure_scaling(folder, tracks=tracks[0], seconds=options.seconds)
    elif options.what == "memory":
        figures = measure_memory(folder, tracks=tracks[0], seconds=options.seconds)
    elif options.what == "audience":
        figures = measure_audience(folder, tracks=tracks[0], kept=tracks[1], seconds=options.seconds)
    else:
        figures = measure_growth(folder, sizes=tracks)
    (folder / "figures.json").write_text(json.dumps(figures))


if __name__ == "__main__":
    main()
