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
    assert "hunter2" not in start(LEAST | {"SOUNDCHARTS_PROXY": "http://me:hunter2@host"}).stderr


def test_a_password_in_a_url_is_not_on_the_page_of_an_error(rf, settings):
    settings.DEBUG = True
    settings.SOUNDCHARTS_PROXY = "http://me:hunter2@proxy:3128"
    settings.REDIS_URL = settings.CELERY_BROKER_URL = "redis://:hunter2@redis:6379/0"
    page = ExceptionReporter(rf.get("/"), ValueError, ValueError("x"), None).get_traceback_html()
    assert "SOUNDCHARTS_PROXY" in page
    assert "hunter2" not in page


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
