"""Make the pictures of the README: `python -m config.screenshots`.

Runs the demo on a catalogue of its own, brings something of everything about, and keeps what a browser shows
in docs/images, small enough for a repository.
"""

import io
import sys
from dataclasses import dataclass
from typing import Any

from PIL import Image
from playwright.sync_api import Page

from config.chromium import run_chromium
from config.local import BASE_DIR, demo_site, do_main_job

FOLDER = BASE_DIR / "docs" / "images"
WIDTH = 1280
LARGEST_BYTES = 120_000
COLOURS = 128


@dataclass(frozen=True)
class Picture:
    """A page (the keys of `prepare` in braces), and how much of it is shown."""

    name: str
    path: str
    height: int = 700


PICTURES = (
    Picture("tracks", "/admin/catalog/track/"),
    Picture("import", "/admin/catalog/track/import/{draft}/"),
    Picture("track", "/admin/catalog/track/{track}/change/"),
    Picture("audience", "/admin/catalog/track/{track}/change/?audience=90#audience", height=640),
    Picture("failures", "/admin/catalog/metadatafetchtask/{partly_failed}/change/", height=680),
    Picture("dashboard", "/admin/", height=900),
    # Last: it shows a task that is under way.
    Picture("task", "/admin/catalog/metadatafetchtask/{running}/change/", height=620),
)


def main() -> int:
    FOLDER.mkdir(parents=True, exist_ok=True)
    with demo_site(BASE_DIR / "var" / "screenshots") as (_, address), run_chromium() as browser:
        if not do_main_job():
            return 1
        context = browser.new_context(viewport={"width": WIDTH, "height": 700}, color_scheme="light")
        page = context.new_page()
        page.goto(address)
        page.get_by_label("Username").fill("demo")
        page.get_by_label("Password").fill("demo")
        page.get_by_role("button", name="Log in").click()
        page.get_by_role("heading", name="The catalogue").wait_for()
        things = _prepare()
        return max(_take(page, address.removesuffix("/admin/"), picture, things) for picture in PICTURES)


def _take(page: Page, site: str, picture: Picture, things: dict[str, Any]) -> int:
    """Keep one picture; return 1, having said so, when it is too large."""
    if "{running}" in picture.path:
        things["running"] = _begin_long_task()
    page.set_viewport_size({"width": WIDTH, "height": picture.height})
    page.goto(site + picture.path.format(**things))
    page.wait_for_load_state("networkidle")
    # The transitions of the theme.
    page.wait_for_timeout(500)
    shown = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    file = FOLDER / f"{picture.name}.png"
    shown.quantize(COLOURS).save(file, optimize=True)
    size = file.stat().st_size
    print(f"{file.relative_to(BASE_DIR)}: {size:,} bytes")
    if size > LARGEST_BYTES:
        print(f"That is more than {LARGEST_BYTES:,}: show less of the page, or with fewer colours.")
        return 1
    return 0


def _prepare() -> dict[str, Any]:
    """Bring about what the demo alone would not show; return the keys of what pages are about."""
    from datetime import timedelta
    from uuid import NAMESPACE_URL, uuid5

    from django.contrib.auth.models import User
    from django.utils import timezone

    from catalog import jobs
    from catalog.following import follow
    from catalog.models import ImportDraft, Track

    demo = User.objects.get(username="demo")
    for track in Track.objects.all():
        # Not every machine has the letters for what the simulator puts into names.
        name = "".join(letter for letter in track.name if ord(letter) < 0x250).strip(" ¿?")
        Track.objects.filter(pk=track.pk).update(name=name)
    keys = list(Track.objects.order_by("-pk").values_list("pk", flat=True))
    Track.objects.filter(pk__in=keys[2:400:5]).update(metadata_fetched_at=timezone.now() - timedelta(days=45))
    strangers = [Track.objects.create(uuid=uuid5(NAMESPACE_URL, f"song {n}")).pk for n in range(4)]
    job = follow(jobs.request_metadata([*keys[50:90], *strangers[:3]], requested_by=demo).job)
    Track.objects.filter(pk__in=strangers[:3]).delete()
    follow(jobs.request_audience(keys[:60], requested_by=demo).job)
    here = [str(uuid) for uuid in Track.objects.values_list("uuid", flat=True)[:3]]
    text = " ".join(["USRC17607839", "USUM71900764", "usum-719-00764", "nonsense", *here])
    draft = ImportDraft.objects.create(source=ImportDraft.Source.LIST, text=text)
    return {"partly_failed": job.pk, "draft": draft.pk, "track": keys[3]}


def _begin_long_task() -> int:
    """Begin a task that takes a while; return its key once something of it is done."""
    import time

    from django.contrib.auth.models import User

    from catalog import jobs
    from catalog.models import MetadataFetchTask

    demo = User.objects.get(username="demo")
    job = jobs.request_import(limit=6000, requested_by=demo).job
    while True:
        follow_up = MetadataFetchTask.objects.filter(parent=job).first()
        if follow_up and follow_up.processed_tracks >= 1000:
            return follow_up.pk
        time.sleep(0.1)


if __name__ == "__main__":
    sys.exit(main())
