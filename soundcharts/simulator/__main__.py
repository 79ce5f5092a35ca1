"""Run the simulator alone: `python -m soundcharts.simulator --port 8800`."""

from __future__ import annotations

import argparse
import json
import logging
import signal
import sys
import threading
from typing import get_args

from soundcharts.simulator import Simulator
from soundcharts.simulator.catalogue import Shape


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m soundcharts.simulator",
        description="A local Soundcharts for the demo, tests and benchmarks.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=8800, help="port to listen on; 0 takes a free one")
    parser.add_argument("--songs", type=int, default=500, help="size of the catalogue")
    parser.add_argument("--shape", choices=get_args(Shape), default="v2.25", help="shape of song objects")
    parser.add_argument("--latency", type=float, default=0.2, help="seconds each call takes")
    parser.add_argument("--app-id", default="soundcharts", help="accepted x-app-id")
    parser.add_argument("--api-key", default="soundcharts", help="accepted x-api-key")
    parser.add_argument("--client-id", default="simulator", help="accepted OAuth client id")
    parser.add_argument("--client-secret", default="simulator", help="accepted OAuth client secret")
    parser.add_argument("--token-lifetime", type=float, default=3600, help="seconds an OAuth token is valid")
    parser.add_argument("--quota", type=int, default=1_000_000, help="calls of the plan")
    parser.add_argument(
        "--quota-tolerance", type=float, default=0, help="share of the quota tolerated beyond it"
    )
    parser.add_argument("--calls-per-minute", type=int, default=5000, help="rate ceiling")
    parser.add_argument(
        "--rate-window", type=float, default=60, help="seconds of the window of the rate ceiling"
    )
    parser.add_argument("--max-batch", type=int, default=10, help="uuids allowed in one call")
    parser.add_argument(
        "--faults", type=json.loads, default={}, help='faults at the start, {"drip": {"times": 1}}'
    )
    parser.add_argument("--verbose", action="store_true", help="log every call to standard error")
    return parser


def main() -> int:
    """Serve until SIGTERM or SIGINT; return the exit status."""
    parser = _parser()
    options = vars(parser.parse_args())
    faults, verbose = options.pop("faults"), options.pop("verbose")
    logging.basicConfig(level=logging.DEBUG if verbose else logging.WARNING, format="%(asctime)s %(message)s")
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        simulator = Simulator(**options)
        simulator.faults.set_all(faults)
        simulator.start()
    except (OSError, ValueError, AttributeError) as error:
        parser.error(str(error))
    with simulator:
        print(f"Simulator listening on {simulator.url}", flush=True)
        stop.wait()
    return 0


if __name__ == "__main__":
    sys.exit(main())
