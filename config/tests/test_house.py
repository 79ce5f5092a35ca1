"""The rules of the house itself: who imports whom, what is documented, what is named."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import settings
from django.contrib import admin
from django.core.management import get_commands

from catalog.explanations import EXPLANATIONS
from catalog.models import FetchFailure, MetadataFetchTask, RefreshPolicy, Track, TrackChange

BASE_DIR = Path(settings.BASE_DIR)
APPS = ("catalog", "soundcharts")


def sources(folder: str) -> Iterator[Path]:
    for path in sorted((BASE_DIR / folder).rglob("*.py")):
        if "tests" not in path.parts and "migrations" not in path.parts:
            yield path


def imported_modules(path: Path) -> set[str]:
    modules = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            modules |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return modules


def is_within(module: str, package: str) -> bool:
    return module == package or module.startswith(f"{package}.")


# From the foundation up; none may import one that stands to its right.
LAYERS = (
    "catalog.roles",
    "catalog.words",
    "catalog.pictures",
    "catalog.song_lists",
    "catalog.models",
    "catalog.search",
    "catalog.selection",
    "catalog.explanations",
    "catalog.heartbeats",
    "catalog.snapshots",
    "catalog.spending",
    "catalog.timing",
    "catalog.quota",
    "catalog.prices",
    "catalog.doorbell",
    "catalog.mapping",
    "catalog.moves",
    "catalog.series",
    "catalog.jobs",
    "catalog.status",
    "catalog.fetching",
    "catalog.following",
    "catalog.schedule",
    "catalog.beat",
    "catalog.tasks",
    "catalog.dashboard",
    "catalog.admin",
    "catalog.management",
)


@pytest.mark.parametrize("path", list(sources("catalog")), ids=lambda path: str(path.relative_to(BASE_DIR)))
def test_imports_go_one_way(path):
    module = ".".join(path.relative_to(BASE_DIR).with_suffix("").parts)
    layer = next((n for n, name in enumerate(LAYERS) if is_within(module, name)), None)
    if layer is None:
        return
    above = LAYERS[layer + 1 :]
    assert not {name for name in imported_modules(path) if any(is_within(name, upper) for upper in above)}


@pytest.mark.parametrize(
    "path", list(sources("soundcharts")), ids=lambda path: str(path.relative_to(BASE_DIR))
)
def test_soundcharts_knows_neither_the_catalogue_nor_the_database_nor_celery(path):
    forbidden = ("catalog", "config", "celery", "kombu", "django.db")
    assert not {name for name in imported_modules(path) if any(is_within(name, bad) for bad in forbidden)}


@pytest.mark.parametrize("model", [Track, TrackChange, MetadataFetchTask, FetchFailure, RefreshPolicy])
def test_every_admin_action_names_its_permission(model):
    model_admin = admin.site.get_model_admin(model)
    buttons = (*model_admin.actions, *model_admin.actions_list, *model_admin.actions_detail)
    for name in buttons:
        assert getattr(model_admin, name).allowed_permissions, name


def test_every_setting_is_in_the_example():
    readers = (
        r"_(?:text|word|flag|number|numbers|list|hosts|origins|service_url|redis_url|time_of_day|renewal|proxy|ca_bundle)"
        r'\(\s*"([A-Z_]+)"'
    )
    read = set(re.findall(readers, (BASE_DIR / "config" / "settings.py").read_text()))
    example = set(re.findall(r"^([A-Z_]+)=", (BASE_DIR / ".env.example").read_text(), re.MULTILINE))
    assert len(read) > 20
    assert read == example - {"POSTGRES_PASSWORD"}


def test_every_setting_reaches_the_containers():
    example = set(re.findall(r"^([A-Z_]+)=", (BASE_DIR / ".env.example").read_text(), re.MULTILINE))
    passed = set(re.findall(r"\$\{([A-Z_]+)", (BASE_DIR / "docker-compose.yml").read_text()))
    # A container is no place for the first, and has the others from its own parts.
    assert example - passed == {"DEBUG", "VAR_DIR", "DATABASE_URL", "REDIS_URL"}


def test_every_setting_is_in_the_readme():
    example = set(re.findall(r"^([A-Z_]+)=", (BASE_DIR / ".env.example").read_text(), re.MULTILINE))
    readme = (BASE_DIR / "README.md").read_text()
    assert {name for name in example if f"`{name}`" not in readme} == set()


def test_every_code_that_is_explained_is_in_the_readme():
    readme = (BASE_DIR / "README.md").read_text()
    # The one says itself what it is, the other that nobody knows.
    assert {code for code in EXPLANATIONS if f"`{code}`" not in readme} == {"by_hand", "error"}


def test_every_command_of_ours_is_in_the_readme():
    readme = (BASE_DIR / "README.md").read_text()
    ours = {name for name, app in get_commands().items() if app in APPS}
    assert ours == {
        "fetch_track_audience",
        "fetch_track_metadata",
        "prune_audience",
        "prune_fetch_tasks",
        "prune_track_changes",
    }
    assert all(f"manage.py {name}" in readme for name in ours)


def test_every_dependency_is_pinned_and_justified_in_the_readme():
    readme = (BASE_DIR / "README.md").read_text()
    for file in sorted(BASE_DIR.glob("requirements*.txt")):
        for line in file.read_text().splitlines():
            if line and not line.startswith(("#", "-")):
                name, pin = re.fullmatch(r"([A-Za-z0-9_-]+)(?:\[[a-z]+\])?==([0-9][^ ]*)", line).groups()
                assert re.search(rf"^\| `{name}` \|.+\S", readme, re.MULTILINE), name
                assert f"{name}=={pin}" in (BASE_DIR / "constraints.txt").read_text()


def test_every_picture_of_the_readme_is_there_and_none_is_heavy():
    shown = set(re.findall(r"\]\((docs/images/[^)]+)\)", (BASE_DIR / "README.md").read_text()))
    assert {str(path.relative_to(BASE_DIR)) for path in BASE_DIR.glob("docs/images/*")} == shown
    assert all((BASE_DIR / name).stat().st_size < 120_000 for name in shown)


def test_files_stay_short_enough_to_read():
    long = {
        str(path.relative_to(BASE_DIR)): length
        for folder in (*APPS, "config")
        for path in sources(folder)
        # The settings are one file, however many there are.
        if path.name != "settings.py" and (length := len(path.read_text().splitlines())) > 420
    }
    assert long == {}


def test_there_is_no_drawer_for_odds_and_ends():
    names = {path.stem for folder in (*APPS, "config") for path in sources(folder)}
    assert not names & {"utils", "helpers", "constants", "signals", "common", "misc"}
