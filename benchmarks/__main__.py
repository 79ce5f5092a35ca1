"""Print one table of what Liner Notes costs; the exit code is 1 when a bound is missed."""

import argparse
import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.request import Request, urlopen

from benchmarks import BASE_DIR, bounds
from benchmarks.figures import KINDS, Figures, print_growth, print_table
from benchmarks.servers import NO_CEILING, Databases, child, databases, simulator, valkey


@dataclass(frozen=True, slots=True)
class Benchmark:
    """One thing to measure, on these kinds of database, against an API like this.

    `latency` is in seconds a call; after `seconds` the fetching is given up and counted as it is.
    """

    name: str
    what: str
    tracks: Sequence[int]
    calls_per_minute: int
    latency: float = bounds.LATENCY
    seconds: float = 0
    kinds: Sequence[str] = tuple(KINDS)


def plan(*, is_quick: bool) -> list[Benchmark]:
    """Return what is measured, in the table's order."""
    fetched, kept = (2_000, 10_000) if is_quick else (10_000, 100_000)
    return [
        Benchmark("paced", "fetching", [fetched], bounds.CALLS_PER_MINUTE, seconds=45),
        Benchmark("people", "people", [12_000], bounds.CALLS_PER_MINUTE),
        Benchmark("unpaced", "fetching", [fetched], NO_CEILING, seconds=45),
        Benchmark(
            *("scaling", "scaling", [fetched], NO_CEILING),
            seconds=45,
            kinds=["postgresql"],
        ),
        # No latency: what a worker keeps does not depend on how long it waits.
        Benchmark(
            *("memory", "memory", [kept], NO_CEILING),
            latency=0,
            seconds=120,
            kinds=["postgresql"],
        ),
        Benchmark("audience", "audience", [fetched, kept], bounds.CALLS_PER_MINUTE, seconds=240),
        Benchmark("growth", "growth", bounds.sizes(is_quick=is_quick), bounds.CALLS_PER_MINUTE),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="2,000 tracks instead of 10,000, and no million")
    names = [benchmark.name for benchmark in plan(is_quick=False)]
    parser.add_argument("--only", choices=names, action="append", help="measure this alone; may be repeated")
    options = parser.parse_args()
    # A SIGTERM, too, stops every server and removes every file.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    wanted = [each for each in plan(is_quick=options.quick) if not options.only or each.name in options.only]
    results: dict[tuple[str, str], Figures] = {}
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="liner-notes-bench-") as folder:
        _set_environment(Path(folder))
        with databases(Path(folder)) as made:
            for benchmark in wanted:
                for kind in benchmark.kinds:
                    results[benchmark.name, kind] = _measure(benchmark, kind, Path(folder), made)
    missed = print_table(bounds.sections(is_quick=options.quick), results)
    print_growth(results, bounds.sizes(is_quick=options.quick), bounds.GROWING)
    print(f"\nMeasured in {time.monotonic() - started:,.0f} s on {os.cpu_count()} cores.")
    if missed:
        print(f"{len(missed)} figures miss their bound (✗):", *missed, sep="\n  ")
        return 1
    print("Every figure keeps its bound.")
    return 0


def _set_environment(folder: Path) -> None:
    """Let every process of ours have the default settings, whatever this shell or a .env says."""
    examples = (BASE_DIR / ".env.example").read_text().splitlines()
    for name in (line.partition("=")[0] for line in examples if line and not line.startswith("#")):
        os.environ.pop(name, None)
    os.environ |= {
        "DJANGO_SETTINGS_MODULE": "config.settings",
        "ENV_FILE": "",
        "SECRET_KEY": secrets.token_urlsafe(50),
        "HTTPS_ONLY": "false",
        "ALLOWED_HOSTS": "testserver",
        "VAR_DIR": str(folder / "var"),
        "SOUNDCHARTS_APP_ID": "soundcharts",
        "SOUNDCHARTS_API_KEY": "soundcharts",
    }


def _measure(benchmark: Benchmark, kind: str, folder: Path, made: Databases) -> Figures:
    print(f"{benchmark.name} on {KINDS[kind]} ...", file=sys.stderr, flush=True)
    name = f"{benchmark.name}_{kind}"
    own = folder / name
    own.mkdir()
    with (
        made.new(kind, name) as database_url,
        valkey(own / "valkey") as redis_url,
        simulator(
            songs=max(benchmark.tracks),
            calls_per_minute=benchmark.calls_per_minute,
            latency=benchmark.latency,
        ) as api_url,
    ):
        reference = {}
        if benchmark.name == "unpaced":
            reference["calls_only"] = _calls_only(api_url, calls=max(benchmark.tracks) // bounds.BATCH)
        os.environ |= {
            "DATABASE_URL": database_url,
            "REDIS_URL": redis_url,
            "SOUNDCHARTS_API_URL": api_url,
            "SOUNDCHARTS_CALLS_PER_MINUTE": str(benchmark.calls_per_minute),
        }
        command = [
            *(sys.executable, "-m", "benchmarks.measure", benchmark.what, "--folder", str(own)),
            *("--tracks", *map(str, benchmark.tracks), "--seconds", str(benchmark.seconds)),
        ]
        with child(command) as process:
            if process.wait():
                sys.exit(f"{benchmark.name} on {KINDS[kind]} could not be measured.")
    figures: dict[str, float] = json.loads((own / "figures.json").read_text())
    return figures | reference


def _calls_only(api_url: str, *, calls: int) -> float:
    """Return the tracks per second that the API and this machine give to a client that saves nothing."""
    command = [sys.executable, "-m", "benchmarks.calls_only", api_url, str(calls)]
    with child(command, stdout=subprocess.PIPE) as process:
        answer, _ = process.communicate()
    # The API's counters are about the measurement that follows.
    with urlopen(Request(f"{api_url}/_simulator/reset", method="POST")):  # noqa: S310
        return float(answer)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        print("\nStopped.")
        sys.exit(130)
