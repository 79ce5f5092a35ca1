"""Call the API as fast as a client can that saves nothing, for comparison.

`python -m benchmarks.calls_only URL CALLS` prints the tracks per second. Two processes, as the worker has.
"""

import http.client
import json
import os
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import get_context
from urllib.parse import urlsplit

from soundcharts.simulator import Catalogue

BATCH = 10
PROCESSES = 2
THREADS = 32


def _call(address: str, first_call: int, step: int, last_call: int) -> int:
    """Make every so-manieth call on one connection; return how many songs came."""
    connection = http.client.HTTPConnection(address, timeout=30)
    songs = Catalogue(1_000_000)
    headers = {"x-app-id": os.environ["SOUNDCHARTS_APP_ID"], "x-api-key": os.environ["SOUNDCHARTS_API_KEY"]}
    came = 0
    for call in range(first_call, last_call, step):
        uuids = ",".join(str(songs.song_uuid(call * BATCH + number)) for number in range(BATCH))
        connection.request("GET", f"/api/v2.25/song/{uuids}", headers=headers)
        came += len(json.loads(connection.getresponse().read())["items"])
    return came


def _call_in_threads(arguments: tuple[str, int, int]) -> int:
    address, process, calls = arguments
    step = PROCESSES * THREADS
    with ThreadPoolExecutor(THREADS) as pool:
        firsts = range(process * THREADS, (process + 1) * THREADS)
        return sum(pool.map(lambda first: _call(address, first, step, calls), firsts))


def main() -> None:
    """Print the tracks per second that came of so many calls."""
    # Leaving the pool ends its processes.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    address, calls = urlsplit(sys.argv[1]).netloc, int(sys.argv[2])
    with get_context("spawn").Pool(PROCESSES) as pool:
        pool.map(abs, range(PROCESSES))
        started = time.monotonic()
        came = sum(pool.map(_call_in_threads, [(address, n, calls) for n in range(PROCESSES)], chunksize=1))
        print(came / (time.monotonic() - started))


if __name__ == "__main__":
    main()
