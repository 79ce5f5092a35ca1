"""Settings: sensible without any, and a sentence for every one that makes no sense."""

import json
import os
import re
import subprocess
import sys

import pytest
from django.conf import settings
from django.views.debug import ExceptionReporter

LEAST = {"ENV_FILE": "", "SECRET_KEY": "x", "SOUNDCHARTS_APP_ID": "a", "SOUNDCHARTS_API_KEY": "b"}


def start(environment: dict[str, str], expression: str = "None") -> subprocess.CompletedProcess[str]:
    """Start Django with exactly this environment, and print a setting as JSON."""
    code = (
        "import json, sys\n"
        "from django.core.exceptions import ImproperlyConfigured\n"
        "try:\n"
        "    from config import settings\n"
        "except ImproperlyConfigured as error:\n"
        "    sys.exit(str(error))\n"
        f"print(json.dumps({expression}, default=str))\n"
    )
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=settings.BASE_DIR,
        env={"PATH": os.environ["PATH"]} | environment,
        capture_output=True,
        text=True,
        timeout=60,
    )


def value_of(expression: str, **environment: str) -> object:
    result = start(LEAST | environment, expression)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SECRET_KEY", ""),
        ("DEBUG", "maybe"),
        ("HTTPS_ONLY", "2"),
        ("DATABASE_URL", "mysql://user:password@host/name"),
        ("DATABASE_URL", "nonsense"),
        ("REDIS_URL", "localhost"),
        ("REDIS_URL", "http://localhost"),
        ("SOUNDCHARTS_API_URL", "ftp://x"),
        ("SOUNDCHARTS_AUTH_URL", "nonsense"),
        ("SOUNDCHARTS_API_KEY", ""),
        ("SOUNDCHARTS_CLIENT_ID", "alone"),
        ("SOUNDCHARTS_BATCH_SIZE", "0"),
        ("SOUNDCHARTS_BATCH_SIZE", "ten"),
        ("SOUNDCHARTS_CALLS_PER_MINUTE", "-5"),
        ("SOUNDCHARTS_CALLS_PER_MINUTE", "9" * 30),
        ("SOUNDCHARTS_TIMEOUT", "1.5"),
        ("IMAGE_ORIGINS", "pictures.example"),
        ("IMAGE_ORIGINS", "http://pictures.example;script-src *"),
        ("IMAGE_ORIGINS", "https://pictures.example/path"),
        ("SOUNDCHARTS_QUOTA_RENEWS", "32"),
        ("SOUNDCHARTS_QUOTA_RENEWS", "monthly"),
        ("SOUNDCHARTS_QUOTA_RENEWS", "2026-02-30"),
        ("SOUNDCHARTS_PROXY", "proxy:3128"),
        ("SOUNDCHARTS_PROXY", "socks5://proxy:3128"),
        ("SOUNDCHARTS_CA_BUNDLE", "/nowhere/ca.pem"),
        ("SOUNDCHARTS_CA_BUNDLE", __file__),
        ("SOUNDCHARTS_CA_BUNDLE", "/"),
        ("METADATA_REFRESH_DAYS", "0"),
        ("METADATA_REFRESH_AT", "24,0"),
        ("METADATA_REFRESH_AT", "3"),
        ("AUDIENCE_REFRESH_AT", "24,0"),
        ("AUDIENCE_REFRESH_AT", "often"),
        ("BATCH_RETRY_DELAYS", "30,soon"),
        ("CHUNK_SIZE", "100000"),
        ("SOUNDCHARTS_AUDIENCE_PLATFORMS", "spotify,napster"),
        ("LOG_LEVEL", "LOUD"),
        # What cannot stand in the head of a request.
        ("SOUNDCHARTS_APP_ID", "two words"),
        ("SOUNDCHARTS_API_KEY", "two words"),
        ("SOUNDCHARTS_API_KEY", "line\nbreak"),
        ("SOUNDCHARTS_API_KEY", "tab\tbed"),
        ("SOUNDCHARTS_API_KEY", "sch\u00fcssel"),
        ("SOUNDCHARTS_API_KEY", "\u30ad\u30fc"),
        ("SOUNDCHARTS_API_KEY", "bell\x07"),
        ("SOUNDCHARTS_TEAM_ID", "a team"),
        # Addresses with something in them that is no part of one.
        ("SOUNDCHARTS_API_URL", "https://user:pw@host"),
        ("SOUNDCHARTS_API_URL", "https://user@host"),
        ("SOUNDCHARTS_API_URL", "https://@host"),
        ("SOUNDCHARTS_API_URL", "https://host?key=1"),
        ("SOUNDCHARTS_API_URL", "https://host?"),
        ("SOUNDCHARTS_API_URL", "https://host/#top"),
        ("SOUNDCHARTS_API_URL", "https://"),
        ("SOUNDCHARTS_API_URL", "https:///path"),
        ("SOUNDCHARTS_API_URL", "https://host:port"),
        ("SOUNDCHARTS_API_URL", "https://host:99999"),
        ("SOUNDCHARTS_API_URL", "https://host:0"),
        ("SOUNDCHARTS_API_URL", "https://ho st"),
        ("SOUNDCHARTS_API_URL", "https://host..com"),
        ("SOUNDCHARTS_API_URL", "https://[::1"),
        ("SOUNDCHARTS_API_URL", "https:\\\\host"),
        ("SOUNDCHARTS_AUTH_URL", "https://user:pw@host/oauth/token"),
        ("SOUNDCHARTS_AUTH_URL", "https://host/token?team=1"),
        ("REDIS_URL", "redis://"),
        ("REDIS_URL", "redis:///0"),
        ("REDIS_URL", "redis://host:port/0"),
        ("REDIS_URL", "redis://host:6379/first"),
        ("REDIS_URL", "redis://ho st/0"),
        ("REDIS_URL", "unix://"),
        ("CELERY_RESULT_BACKEND", "somewhere"),
        ("CELERY_RESULT_BACKEND", "db+sqlite:///results.sqlite3"),
        ("DATABASE_URL", "postgres://user:password@host:port/name"),
        ("DATABASE_URL", "postgres://user:password@host"),
        ("DATABASE_URL", "sqlite:////nowhere/at/all/db.sqlite3"),
        ("BATCH_RETRY_DELAYS", "30,,600"),
        ("BATCH_RETRY_DELAYS", "999999999"),
        ("BATCH_RETRY_DELAYS", "-1"),
        ("BATCH_RETRY_DELAYS", ",".join(["1"] * 11)),
        ("ALLOWED_HOSTS", "https://example.com"),
        ("ALLOWED_HOSTS", "example.com/path"),
        ("CSRF_TRUSTED_ORIGINS", "example.com"),
        ("CSRF_TRUSTED_ORIGINS", "https://example.com/path"),
        ("VAR_DIR", "/dev/null/var"),
        ("ENV_FILE", "/nowhere/.env"),
    ],
)
def test_a_nonsensical_value_stops_the_start_with_a_sentence_that_names_it(name, value):
    result = start(LEAST | {name: value})
    assert result.returncode == 1
    assert name in result.stderr
    assert "Traceback" not in result.stderr


def test_the_example_holds_the_defaults():
    lines = re.findall(r"^([A-Z_]+)=(.+)$", (settings.BASE_DIR / ".env.example").read_text(), re.MULTILINE)
    # Some are for one's own machine, and the sandbox's keys are nobody's default.
    others = {"ALLOWED_HOSTS", "HTTPS_ONLY", *LEAST}
    example = {name: value for name, value in lines if name not in others}
    defaults = value_of(
        f"{{name: getattr(settings, name) for name in {[*example]} if hasattr(settings, name)}}"
    )
    assert len(defaults) > 15
    assert value_of(f"{{name: getattr(settings, name) for name in {[*defaults]}}}", **example) == defaults


def test_a_password_in_a_wrong_url_is_not_repeated():
    assert "hunter2" not in start(LEAST | {"DATABASE_URL": "mysql://user:hunter2@host/name"}).stderr
    assert "hunter2" not in start(LEAST | {"REDIS_URL": "http://:hunter2@host"}).stderr
    assert "hunter2" not in start(LEAST | {"SOUNDCHARTS_API_URL": "https://user:hunter2@host"}).stderr
    assert "hunter2" not in start(LEAST | {"SOUNDCHARTS_API_KEY": "hunter2 hunter2"}).stderr
    assert "hunter2" not in start(LEAST | {"SOUNDCHARTS_PROXY": "http://me:hunter2@host"}).stderr


def test_a_password_in_a_url_is_not_on_the_page_of_an_error(rf, settings):
    settings.DEBUG = True
    settings.SOUNDCHARTS_PROXY = "http://me:hunter2@proxy:3128"
    settings.REDIS_URL = settings.CELERY_BROKER_URL = "redis://:hunter2@redis:6379/0"
    page = ExceptionReporter(rf.get("/"), ValueError, ValueError("x"), None).get_traceback_html()
    assert "SOUNDCHARTS_PROXY" in page
    assert "hunter2" not in page


@pytest.mark.parametrize(
    "value",
    [
        "http://127.0.0.1:8001",
        "https://host/sub/path",
        "https://host:8443",
        "http://[::1]:80",
        "http://stand-in:80/",
    ],
)
def test_addresses_of_the_api_that_make_sense_are_taken(value):
    assert value_of("settings.SOUNDCHARTS_API_URL", SOUNDCHARTS_API_URL=value) == value.rstrip("/")


@pytest.mark.parametrize(
    "value",
    [
        "redis://h",
        "redis://:pass word@h".replace(" ", "-"),
        "rediss://u:p@h:6380/3",
        "unix:///run/redis.sock?db=2",
    ],
)
def test_addresses_of_redis_that_make_sense_are_taken(value):
    assert value_of("settings.REDIS_URL", REDIS_URL=value) == value


def test_a_value_that_begins_with_a_dollar_is_taken_as_it_is():
    assert value_of("settings.SOUNDCHARTS_API_KEY", SOUNDCHARTS_API_KEY="$ecret") == "$ecret"


def test_a_file_of_settings_that_is_no_text_stops_the_start_with_a_sentence(tmp_path):
    (tmp_path / "env").write_bytes(b"SECRET_KEY=\xff\xfe")
    result = start(LEAST | {"ENV_FILE": str(tmp_path / "env")})
    assert "cannot be read as UTF-8 text" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("command", [["worker"], ["beat"], ["inspect", "ping"]])
def test_celery_says_in_one_sentence_why_it_cannot_start(command):
    result = subprocess.run(
        [sys.executable, "-m", "celery", "-A", "config", *command],
        cwd=settings.BASE_DIR,
        env={"PATH": os.environ["PATH"]} | LEAST | {"SOUNDCHARTS_API_KEY": "two words"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert result.returncode != 0
    assert "Liner Notes cannot start: SOUNDCHARTS_API_KEY must be" in result.stderr
    assert "Traceback" not in result.stderr
    assert "two words" not in result.stderr


def test_without_credentials_the_start_stops_and_names_the_sandbox():
    result = start({"ENV_FILE": "", "SECRET_KEY": "x"})
    assert "soundcharts / soundcharts" in result.stderr


def test_oauth_alone_is_enough():
    result = start(
        {"ENV_FILE": "", "SECRET_KEY": "x", "SOUNDCHARTS_CLIENT_ID": "a", "SOUNDCHARTS_CLIENT_SECRET": "b"}
    )
    assert result.returncode == 0, result.stderr


def test_empty_means_not_set():
    assert value_of("settings.SOUNDCHARTS_BATCH_SIZE", SOUNDCHARTS_BATCH_SIZE="") == 10
    assert "db.sqlite3" in str(value_of("settings.DATABASES['default']['NAME']", DATABASE_URL=""))


def test_sqlite_takes_its_write_lock_at_the_beginning_of_a_transaction():
    options = value_of("settings.DATABASES['default']['OPTIONS']")
    assert options == {
        "timeout": 20,
        "transaction_mode": "IMMEDIATE",
        "init_command": "PRAGMA journal_mode=WAL",
    }


def test_postgresql_gives_up_on_stuck_statements_locks_and_transactions():
    options = value_of("settings.DATABASES['default']['OPTIONS']", DATABASE_URL="postgres://u:p@h/n")
    for timeout in ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"):
        assert timeout in options["options"]


def test_without_debug_cookies_travel_over_https_only():
    assert value_of("[settings.SESSION_COOKIE_SECURE, settings.SECURE_SSL_REDIRECT]") == [True, True]


def test_an_environment_variable_wins_over_the_file(tmp_path):
    file = tmp_path / "some.env"
    file.write_text("CHUNK_SIZE=7\nSOUNDCHARTS_TIMEOUT=9\n")
    both = value_of("[settings.CHUNK_SIZE, settings.SOUNDCHARTS_TIMEOUT]", ENV_FILE=str(file), CHUNK_SIZE="8")
    assert both == [8, 9]
