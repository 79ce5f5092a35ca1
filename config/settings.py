"""Settings of Liner Notes: one file, every deployment.

Values come from the environment, or from a `.env` file beside `manage.py` (the environment wins).
`.env.example` lists every name that is read here. A missing or nonsensical value stops the start
with a sentence that names it.
"""

import os
import re
import ssl
from collections.abc import Callable
from datetime import time, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import environ
from django.core.exceptions import ImproperlyConfigured

from config import policy, theme
from soundcharts.credentials import check_header_text, check_proxy_url, check_service_url
from soundcharts.platforms import AUDIENCE_PLATFORMS
from soundcharts.renewal import Renewal

BASE_DIR = Path(__file__).resolve().parent.parent

env = environ.Env()
# Empty: no file is read, so that tests and the demo depend on nothing that lies around.
if env_file := os.environ.get("ENV_FILE", str(BASE_DIR / ".env")):
    if "ENV_FILE" in os.environ and not Path(env_file).is_file():
        raise ImproperlyConfigured("ENV_FILE must be the path of an existing file, or empty.")
    try:
        env.read_env(env_file)
    except (OSError, ValueError):
        raise ImproperlyConfigured(f"{env_file} cannot be read as UTF-8 text.") from None


def _text(name: str, default: str | None = None) -> str:
    """Return a setting; empty counts as not set. Without a default it must be set."""
    # Not by `env`, which takes a value that begins with $ for another variable's name.
    value = os.environ.get(name, "").strip()
    if value:
        return value
    if default is None:
        raise ImproperlyConfigured(f"{name} is not set. Copy .env.example to .env and fill it in.")
    return default


def _flag(name: str, default: bool) -> bool:
    text = _text(name, str(default)).lower()
    if text in {"1", "true", "yes", "on"}:
        return True
    if text in {"0", "false", "no", "off"}:
        return False
    raise ImproperlyConfigured(f"{name} must be true or false, not {text!r}.")


def _number(name: str, default: int, *, low: int, high: int) -> int:
    text = _text(name, str(default))
    if not (text.isascii() and text.isdecimal()) or not low <= int(text[:20]) <= high:
        raise ImproperlyConfigured(f"{name} must be a whole number from {low} to {high}, not {text!r}.")
    return int(text)


def _list(name: str) -> list[str]:
    return [item.strip() for item in _text(name, "").split(",") if item.strip()]


def _numbers(name: str, default: str, *, high: int, most: int) -> list[int]:
    texts = [item.strip() for item in _text(name, default).split(",")]
    is_usable = all(text.isascii() and text.isdecimal() and int(text[:20]) <= high for text in texts)
    if not is_usable or len(texts) > most:
        raise ImproperlyConfigured(
            f"{name} must be whole numbers from 0 to {high}, at most {most}, separated by commas."
        )
    return [int(text) for text in texts]


def _time_of_day(name: str, default: str) -> time:
    """Return an hour and a minute, such as 3,15."""
    numbers = _numbers(name, default, high=59, most=2)
    if len(numbers) != 2 or numbers[0] > 23:
        raise ImproperlyConfigured(f"{name} must be hour,minute such as {default}.")
    hour, minute = numbers
    return time(hour, minute)


def _renewal(name: str) -> str:
    """Return a day of the month or a date as written, empty if not set."""
    text = _text(name, "")
    try:
        Renewal.parse(text)
    except ValueError:
        raise ImproperlyConfigured(
            f"{name} must be a day of the month such as 15, or a date such as 2026-03-01, not {text!r}."
        ) from None
    return text


def _checked(check: Callable[[str, str], None], name: str, value: str) -> str:
    """Return a value that passes a check. The error message never quotes it."""
    try:
        if value:
            check(name, value)
    except ValueError as error:
        raise ImproperlyConfigured(str(error)) from None
    return value


def _word(name: str) -> str:
    """Return a value, such as a key, that is sent in a request header."""
    return _checked(check_header_text, name, _text(name, ""))


def _service_url(name: str, default: str) -> str:
    return _checked(check_service_url, name, _text(name, default)).rstrip("/")


def _redis_url(name: str, default: str) -> str:
    """Return a Redis address. The error message never quotes it, because it can hold a password."""
    value = _text(name, default)
    try:
        parts = urlsplit(value)
        is_usable = value.isprintable() and " " not in value and not parts.fragment
        if parts.scheme == "unix":
            is_usable = is_usable and len(parts.path) > 1 and not parts.hostname
        else:
            is_usable = (
                is_usable
                and parts.scheme in {"redis", "rediss"}
                and bool(parts.hostname)
                and (parts.port is None or parts.port > 0)
                and (parts.path.strip("/") or "0").isdecimal()
            )
    except ValueError:
        is_usable = False
    if value and not is_usable:
        raise ImproperlyConfigured(
            f"{name} must look like redis://host:port/0, rediss://host:port/0 or unix:///path/to/socket."
        )
    return value.rstrip("/")


def _hosts(name: str) -> list[str]:
    """Return host names, such as example.com, .example.com or *."""
    hosts = _list(name)
    if wrong := [host for host in hosts if set(host) & set("/@?#\\ ") or not host.isprintable()]:
        raise ImproperlyConfigured(f"{name} must be host names without https:// or a path, not {wrong[0]!r}.")
    return hosts


def _origins(name: str) -> list[str]:
    """Return origins, such as https://example.com or https://*.example.com."""
    origins = [origin.rstrip("/") for origin in _list(name)]
    pattern = r"https?://(\*\.)?[A-Za-z0-9.-]+(:[0-9]{1,5})?"
    if not all(re.fullmatch(pattern, origin) for origin in origins):
        raise ImproperlyConfigured(f"{name} must be origins such as http://host:port, separated by commas.")
    return origins


def _proxy(name: str) -> str:
    return _checked(check_proxy_url, name, _text(name, "")).rstrip("/")


def _ca_bundle(name: str) -> str:
    path = _text(name, "")
    try:
        if path:
            ssl.create_default_context(cafile=path)
    except OSError:
        raise ImproperlyConfigured(
            f"{name} must be the path of a readable file of PEM certificates."
        ) from None
    return path


def _database() -> dict[str, Any]:
    try:
        url = _text("DATABASE_URL", f"sqlite:///{BASE_DIR / 'db.sqlite3'}")
        database: dict[str, Any] = env.db_url_config(url)
    except (ImproperlyConfigured, ValueError, KeyError):
        database = {}
    # Without a name, PostgreSQL would use the user's name.
    if not database.get("NAME"):
        database = {}
    options: dict[str, Any] = database.setdefault("OPTIONS", {})
    match database.get("ENGINE"):
        case "django.db.backends.sqlite3":
            # IMMEDIATE takes the write lock at BEGIN: a deferred transaction that reads and then writes
            # fails at once with "database is locked", whatever the timeout.
            if database["NAME"] != ":memory:" and not Path(database["NAME"]).absolute().parent.is_dir():
                raise ImproperlyConfigured("DATABASE_URL points to a folder that does not exist.")
            options |= {
                "timeout": 20,
                "transaction_mode": "IMMEDIATE",
                "init_command": "PRAGMA journal_mode=WAL",
            }
            # A file, so that the worker processes of a test run open the same database; one for each run.
            database["TEST"] = {"NAME": VAR_DIR / f"test-{os.getpid()}.sqlite3"}
        case "django.db.backends.postgresql":
            options.setdefault("connect_timeout", 5)
            options.setdefault(
                "options",
                "-c statement_timeout=30s -c lock_timeout=10s -c idle_in_transaction_session_timeout=60s",
            )
            database |= {"CONN_MAX_AGE": 60, "CONN_HEALTH_CHECKS": True}
        case _:
            raise ImproperlyConfigured(
                "DATABASE_URL must be sqlite:///path/to/file or postgres://user:password@host:port/name."
            )
    return database


# What the processes write: collected static files, beat's sign of life.
VAR_DIR = Path(_text("VAR_DIR", str(BASE_DIR / "var")))
try:
    VAR_DIR.mkdir(parents=True, exist_ok=True)
except OSError as _error:
    raise ImproperlyConfigured(f"VAR_DIR must be a writable folder: {_error.strerror}.") from None

# --- The site -----------------------------------------------------------------------------------

# Debug pages show settings and source: never true where others can reach the site.
DEBUG = _flag("DEBUG", False)

# Signs sessions and forms. The same for every process of one deployment.
SECRET_KEY = _text("SECRET_KEY")

# The host names the site answers to, comma-separated.
ALLOWED_HOSTS = _hosts("ALLOWED_HOSTS") or (["localhost", "127.0.0.1", "[::1]"] if DEBUG else [])

# Origins (https://host) whose forms are trusted, when a proxy changes the host name.
CSRF_TRUSTED_ORIGINS = _origins("CSRF_TRUSTED_ORIGINS")

# True: cookies travel over HTTPS only, plain HTTP is redirected, and browsers keep to HTTPS for a year
# (HSTS); for this host alone: what is below it is not ours to promise. False only on one's own machine.
HTTPS_ONLY = _flag("HTTPS_ONLY", not DEBUG)
SESSION_COOKIE_SECURE = HTTPS_ONLY
CSRF_COOKIE_SECURE = HTTPS_ONLY
# Keeps the entries of a page that is older than the log-in.
CSRF_FAILURE_VIEW = "config.kept_forms.answer_stale_token"
SECURE_SSL_REDIRECT = HTTPS_ONLY
# The health check is asked over plain HTTP from inside the deployment.
SECURE_REDIRECT_EXEMPT = [r"^healthz$"]
SECURE_HSTS_SECONDS = 31_536_000 if HTTPS_ONLY else 0
# A proxy that ends TLS must set X-Forwarded-Proto, strip it from what clients send, and add the client's
# address to X-Forwarded-For.
BEHIND_TLS_PROXY = _flag("BEHIND_TLS_PROXY", False)
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if BEHIND_TLS_PROXY else None
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
# Origins (http://host:port) whose images are shown besides all https images: in the demo, the simulator's.
IMAGE_ORIGINS = _origins("IMAGE_ORIGINS")
CONTENT_SECURITY_POLICY = policy.content_security_policy(image_origins=IMAGE_ORIGINS)
PERMISSIONS_POLICY = policy.PERMISSIONS_POLICY

# Keeps passwords in URLs out of error pages and mails.
DEFAULT_EXCEPTION_REPORTER_FILTER = "config.reports.ReportFilter"

INSTALLED_APPS = [
    "unfold",
    "unfold.contrib.filters",
    "axes",
    "csp",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.humanize",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django_celery_beat",
    "catalog",
    "soundcharts",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "csp.middleware.CSPMiddleware",
    "django_permissions_policy.PermissionsPolicyMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "config.unreadable.RefuseUnreadable",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "config.login.tell_of_ended_session",
    "config.busy.BusyDatabase",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "axes.middleware.AxesMiddleware",
]

ROOT_URLCONF = "config.urls"
WSGI_APPLICATION = "config.wsgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]

AUTHENTICATION_BACKENDS = [
    "axes.backends.AxesStandaloneBackend",
    "django.contrib.auth.backends.ModelBackend",
]
# Where a log-in leads that was not asked for by a page.
LOGIN_REDIRECT_URL = "admin:index"
LOGIN_URL = "admin:login"
# Failed log-ins for one user name from one address, after which the name has to wait there.
AXES_FAILURE_LIMIT = _number("LOGIN_FAILURES", 5, low=1, high=100)
# How long, in minutes. Failures before that are forgotten, and their rows deleted with the next log-in.
AXES_COOLOFF_TIME = timedelta(minutes=_number("LOGIN_WAIT_MINUTES", 15, low=1, high=1440))
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]
AXES_CLIENT_IP_CALLABLE = "config.login.find_address"
AXES_LOCKOUT_CALLABLE = "config.login.answer_refused"
AXES_RESET_ON_SUCCESS = True
# Whoever goes on trying does not make the wait longer.
AXES_RESET_COOL_OFF_ON_FAILURE_DURING_LOCKOUT = False
# Nothing is kept for ever: the last log-in of a user is on the user's page, the rest is for the logs.
AXES_DISABLE_ACCESS_LOG = True
AXES_ENABLE_ADMIN = False
AXES_VERBOSE = False
# Not in the logs: people type their password into the wrong field.
AXES_SENSITIVE_PARAMETERS = ["username"]

LANGUAGE_CODE = "en-us"
# "25 Nov 2026, 17:54" in tables and forms, too, where Django would write "Nov. 25, 2026, 5:54 p.m.".
FORMAT_MODULE_PATH = "config.formats"
TIME_ZONE = "UTC"
USE_TZ = True

# Pasted lists may be longer than Django's 2.5 MB, so that the form itself can say what is too long.
DATA_UPLOAD_MAX_MEMORY_SIZE = 12_000_000
# Ten thousand ticked tracks, the largest selection, and the fields around them; Django's own limit is 1,000.
DATA_UPLOAD_MAX_NUMBER_FIELDS = 10_100

STATIC_URL = "static/"
STATIC_ROOT = VAR_DIR / "static"
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"},
}
if DEBUG:
    # Without a collectstatic first.
    STORAGES["staticfiles"] = {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}

# Names, colours and side bar of the admin.
UNFOLD = theme.UNFOLD

# --- The database -------------------------------------------------------------------------------

# SQLite (a file) by default; PostgreSQL in production: postgres://user:password@host:port/name.
DATABASES = {"default": _database()}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
SILENCED_SYSTEM_CHECKS = [
    "models.W040",  # What an index holds beside its keys, SQLite leaves out; that is known.
    "security.W005",  # HSTS is for this host alone, and so is
    "security.W021",  # not for the browsers' preload lists.
]

# --- Soundcharts --------------------------------------------------------------------------------

# Where the API answers. The same for the sandbox and for production; the credentials decide.
SOUNDCHARTS_API_URL = _service_url("SOUNDCHARTS_API_URL", "https://customer.api.soundcharts.com")
# Keys of an account. The public sandbox is soundcharts / soundcharts.
SOUNDCHARTS_APP_ID = _word("SOUNDCHARTS_APP_ID")
SOUNDCHARTS_API_KEY = _word("SOUNDCHARTS_API_KEY")
# OAuth client credentials; used instead of the keys when a client id is set.
SOUNDCHARTS_CLIENT_ID = _word("SOUNDCHARTS_CLIENT_ID")
SOUNDCHARTS_CLIENT_SECRET = _word("SOUNDCHARTS_CLIENT_SECRET")
SOUNDCHARTS_TEAM_ID = _word("SOUNDCHARTS_TEAM_ID")
SOUNDCHARTS_AUTH_URL = _service_url("SOUNDCHARTS_AUTH_URL", "https://account.soundcharts.com/oauth/token")
# Tracks a call. The only published bound is 10.
SOUNDCHARTS_BATCH_SIZE = _number("SOUNDCHARTS_BATCH_SIZE", 10, low=1, high=100)
# The ceiling of the account, for all processes together.
SOUNDCHARTS_CALLS_PER_MINUTE = _number("SOUNDCHARTS_CALLS_PER_MINUTE", 5000, low=2, high=100_000)
# The last calls of the quota, which bulk work leaves to people.
SOUNDCHARTS_QUOTA_RESERVE = _number("SOUNDCHARTS_QUOTA_RESERVE", 25, low=0, high=1_000_000)
# When the quota renews: a day of the month (15), or a date for a yearly plan (2026-03-01). Empty: learned
# from two renewals in a row.
SOUNDCHARTS_QUOTA_RENEWS = _renewal("SOUNDCHARTS_QUOTA_RENEWS")
# Seconds until one try of a call is given up, from connecting to the last byte.
SOUNDCHARTS_TIMEOUT = _number("SOUNDCHARTS_TIMEOUT", 10, low=1, high=60)
# The proxy for calls: http://host:port or http://user:password@host:port. HTTPS_PROXY and the like are
# ignored.
SOUNDCHARTS_PROXY = _proxy("SOUNDCHARTS_PROXY")
# A PEM file of certificates to trust instead of the public ones, for a proxy that re-signs.
SOUNDCHARTS_CA_BUNDLE = _ca_bundle("SOUNDCHARTS_CA_BUNDLE")

for _first, _second in (
    ("SOUNDCHARTS_APP_ID", "SOUNDCHARTS_API_KEY"),
    ("SOUNDCHARTS_CLIENT_ID", "SOUNDCHARTS_CLIENT_SECRET"),
):
    if bool(globals()[_first]) != bool(globals()[_second]):
        raise ImproperlyConfigured(f"{_first} and {_second} belong together: set both, or neither.")
if not (SOUNDCHARTS_APP_ID or SOUNDCHARTS_CLIENT_ID):
    raise ImproperlyConfigured(
        "No Soundcharts credentials are set: set SOUNDCHARTS_APP_ID and SOUNDCHARTS_API_KEY (the public "
        "sandbox is soundcharts / soundcharts), or SOUNDCHARTS_CLIENT_ID and SOUNDCHARTS_CLIENT_SECRET."
    )

# --- Fetching -----------------------------------------------------------------------------------

# A track is stale when Soundcharts last answered for it longer ago than this, until staff say otherwise on
# the page Schedule.
METADATA_REFRESH_DAYS = _number("METADATA_REFRESH_DAYS", 30, low=1, high=3650)
# The platforms whose audience is fetched unless a run names others; the list of tracks shows the first.
SOUNDCHARTS_AUDIENCE_PLATFORMS = list(dict.fromkeys(_list("SOUNDCHARTS_AUDIENCE_PLATFORMS"))) or ["spotify"]
if _unknown := set(SOUNDCHARTS_AUDIENCE_PLATFORMS) - set(AUDIENCE_PLATFORMS):
    raise ImproperlyConfigured(
        f"SOUNDCHARTS_AUDIENCE_PLATFORMS: no platform {', '.join(sorted(_unknown))}. "
        f"There are: {', '.join(AUDIENCE_PLATFORMS)}."
    )
# Days per audience request. A page holds 100 figures, so longer periods help only songs with fewer figures.
# If the account refuses more than 90 days, requests cover 90.
SOUNDCHARTS_AUDIENCE_PERIOD_DAYS = _number("SOUNDCHARTS_AUDIENCE_PERIOD_DAYS", 90, low=1, high=3650)
# An audience is stale when it was last fetched so many days ago, counted as days of the calendar (UTC), until
# staff say otherwise on the page Schedule.
AUDIENCE_REFRESH_DAYS = _number("AUDIENCE_REFRESH_DAYS", 1, low=1, high=3650)
# Tracks a chunk: what one worker claims at a time.
CHUNK_SIZE = _number("CHUNK_SIZE", 1000, low=1, high=2000)
# Calls that one worker process keeps under way at once.
FETCH_AHEAD = _number("FETCH_AHEAD", 32, low=1, high=64)
# Seconds a worker may be silent before its chunk is given to another. While it waits for answers it is not.
CHUNK_LEASE_SECONDS = _number("CHUNK_LEASE_SECONDS", 120, low=1, high=3600)
# Seconds that a worker stays with one job before others get their turn.
WORK_SLICE_SECONDS = _number("WORK_SLICE_SECONDS", 30, low=1, high=300)
# Seconds to wait before a batch that failed for a passing reason is tried again; then it has failed.
BATCH_RETRY_DELAYS = _numbers("BATCH_RETRY_DELAYS", "30,120,600", high=86_400, most=10)

# --- Celery -------------------------------------------------------------------------------------

# The broker, and the rate limit that all processes share.
REDIS_URL = _redis_url("REDIS_URL", "redis://127.0.0.1:6379/0")

CELERY_BROKER_URL = REDIS_URL
CELERY_TIMEZONE = TIME_ZONE
CELERY_TASK_SERIALIZER = "json"
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_TASK_DEFAULT_QUEUE = "liner-notes"
# Progress and outcomes are rows, so no backend is needed. With one, tasks that you send yourself store a
# small result for a day; Liner Notes' own messages never do.
CELERY_RESULT_BACKEND = _redis_url("CELERY_RESULT_BACKEND", "") or None
CELERY_TASK_IGNORE_RESULT = CELERY_RESULT_BACKEND is None
CELERY_RESULT_EXPIRES = 86_400 if CELERY_RESULT_BACKEND else None
# A result that cannot be stored must not delay the next task.
CELERY_RESULT_BACKEND_TRANSPORT_OPTIONS = {"retry_policy": {"max_retries": 1, "interval_start": 0}}
CELERY_REDIS_SOCKET_CONNECT_TIMEOUT = 5
CELERY_REDIS_SOCKET_TIMEOUT = 5
# Seconds until a task is interrupted (it ends cleanly), and until its process is killed. Both are far above a
# slice of work plus the longest wait for the rate limit, and below the visibility timeout.
CELERY_TASK_SOFT_TIME_LIMIT = max(480, 8 * WORK_SLICE_SECONDS)
CELERY_TASK_TIME_LIMIT = CELERY_TASK_SOFT_TIME_LIMIT + 60
# Housekeeping takes seconds; the next run resumes where it was interrupted.
CELERY_TASK_ANNOTATIONS = {"catalog.tasks.sweep_jobs": {"soft_time_limit": 240, "time_limit": 300}}
# A message is gone only when its work is: a killed worker's message comes back.
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_REJECT_ON_WORKER_LOST = True
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
# Kilobytes. An allocator's heap settles slowly; a process that is this large (three times the usual) is
# replaced between two slices of work.
CELERY_WORKER_MAX_MEMORY_PER_CHILD = 300_000
CELERY_WORKER_SOFT_SHUTDOWN_TIMEOUT = 15
CELERY_WORKER_CANCEL_LONG_RUNNING_TASKS_ON_CONNECTION_LOSS = False
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_CONNECTION_MAX_RETRIES = None
CELERY_BROKER_POOL_ACQUIRE_TIMEOUT = 5
CELERY_BROKER_TRANSPORT_OPTIONS = {
    # Ten slices: shorter, and a slow slice would be delivered twice.
    "visibility_timeout": max(600, 10 * WORK_SLICE_SECONDS),
    "unacked_restore_interval": 10,
    "unacked_restore_throttle": 1,
    "socket_timeout": 5,
    "socket_connect_timeout": 5,
    "socket_keepalive": True,
    # Whoever clicked is waiting: one quick second try, and then the sweep takes over.
    "max_retries": 1,
    "interval_start": 0,
    "interval_step": 0,
    "interval_max": 0,
}

# When everything stale is fetched: hour and minute (UTC) of the nightly run, until staff say otherwise on
# the page Schedule.
METADATA_REFRESH_AT = _time_of_day("METADATA_REFRESH_AT", "3,15")
# The same for stale audience, once staff turn that on there: it costs a call a track and platform.
AUDIENCE_REFRESH_AT = _time_of_day("AUDIENCE_REFRESH_AT", "4,45")
# Seconds between two sweeps: what lost its worker waits at most this long after its lease.
SWEEP_SECONDS = _number("SWEEP_SECONDS", 60, low=1, high=3600)
# Beat reads when to do what from the database, where the page Schedule writes it.
CELERY_BEAT_SCHEDULER = "catalog.beat:Scheduler"
# Written over what the database says at each start of beat: only what staff cannot change.
CELERY_BEAT_SCHEDULE = {
    "sweep": {
        "task": "catalog.tasks.sweep_jobs",
        "schedule": timedelta(seconds=SWEEP_SECONDS),
        "enabled": True,
    },
}
# The page shows when things last ran: it is written down at once.
CELERY_BEAT_SYNC_EVERY = 1

# --- Logging ------------------------------------------------------------------------------------

# DEBUG, INFO, WARNING or ERROR.
LOG_LEVEL = _text("LOG_LEVEL", "INFO").upper()
if LOG_LEVEL not in {"DEBUG", "INFO", "WARNING", "ERROR"}:
    raise ImproperlyConfigured(f"LOG_LEVEL must be DEBUG, INFO, WARNING or ERROR, not {LOG_LEVEL!r}.")
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    # Includes Celery's task and its id, "-" outside tasks.
    "formatters": {"line": {"format": "{asctime} {levelname} {name} {task} {message}", "style": "{"}},
    "filters": {"task": {"()": "config.logs.WithTask"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line", "filters": ["task"]}},
    "root": {"handlers": ["console"], "level": "WARNING"},
    "loggers": {
        "catalog": {"level": LOG_LEVEL},
        "soundcharts": {"level": LOG_LEVEL},
        "celery": {"level": LOG_LEVEL},
        "django": {"handlers": [], "propagate": True, "level": "INFO"},
    },
}
