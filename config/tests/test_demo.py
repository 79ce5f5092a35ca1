"""The demo, as a new user runs it: real processes, and nothing left behind."""

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from django.conf import settings

from catalog.tests.workers import wait_until

BASE_DIR = Path(settings.BASE_DIR)
pytestmark = [
    # A folder has one demo at a time.
    pytest.mark.xdist_group("demo"),
    pytest.mark.skipif(
        "postgres" in os.environ.get("DATABASE_URL", ""), reason="the demo has its own SQLite"
    ),
]


def start_demo(*options: str) -> subprocess.Popen[str]:
    environment = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/")}
    return subprocess.Popen(
        [sys.executable, "-m", "config.local", "demo", *options],
        cwd=BASE_DIR,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def processes_of_the_demo() -> set[int]:
    found = set()
    for entry in Path("/proc").iterdir() if Path("/proc").is_dir() else ():
        if entry.name.isdecimal():
            try:
                environment = (entry / "environ").read_bytes()
            except OSError:
                continue
            if b"VAR_DIR=" + str(BASE_DIR / "var" / "demo").encode() in environment:
                found.add(int(entry.name))
    return found


def test_the_demo_does_the_main_job_beside_a_busy_port_and_leaves_no_process():
    with socket.socket() as busy:
        busy.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            busy.bind(("127.0.0.1", 8000))
            busy.listen()
        except OSError:
            pass  # Something else keeps it busy: just as well.
        demo = start_demo("--once")
        output, _ = demo.communicate(timeout=150)
    assert demo.returncode == 0, output
    assert "Port 8000 is taken" in output
    assert re.search(
        r"500 tracks imported, 500 updated, 0 failed, 55 API calls spent, [0-9.]+ seconds", output
    ), output
    wait_until(lambda: not processes_of_the_demo())


def test_ctrl_c_stops_every_process_of_a_demo_and_a_second_demo_is_refused_meanwhile():
    demo = start_demo()
    assert demo.stdout is not None
    try:
        for line in demo.stdout:
            if "The admin is open" in line:
                break
        assert processes_of_the_demo()
        second = start_demo()
        output, _ = second.communicate(timeout=60)
        assert second.returncode == 1
        assert "already running" in output
    finally:
        demo.send_signal(signal.SIGINT)
        demo.communicate(timeout=60)
    wait_until(lambda: not processes_of_the_demo())
