"""What the admin answers after something was asked for: where to go, and what happened."""

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.html import format_html

from catalog import jobs, quota
from catalog.models import MetadataFetchTask


def go_to(request: HttpRequest, address: str) -> HttpResponse:
    """Send the browser to another page, also from a dialog that was posted in the background."""
    if request.headers.get("HX-Request"):
        return HttpResponse(headers={"HX-Redirect": address})
    return HttpResponseRedirect(address)


def why_not_fetched(request: HttpRequest, address: str) -> HttpResponse | None:
    """Redirect with an error if the Soundcharts settings are invalid; return None if they are valid."""
    if not (problem := quota.why_unusable()):
        return None
    messages.error(request, f"Not fetched. {problem}")
    return go_to(request, address)


def job_address(job: MetadataFetchTask) -> str:
    return reverse("admin:catalog_metadatafetchtask_change", args=(job.pk,))


def tell(request: HttpRequest, requested: jobs.Requested, *, is_elsewhere: bool = False) -> None:
    """Say what became of a request for a job: on its page, or elsewhere with the way to it."""
    job = requested.job
    is_moving = job.status in (job.Status.PENDING, job.Status.RUNNING)
    is_plain = requested.is_rung and not requested.is_joined
    words: str = requested.sentence
    if is_elsewhere:
        words = format_html(
            '{} <a class="ln-link" href="{}">Follow its progress</a>', requested.sentence, job_address(job)
        )
    elif is_moving:
        words += " Its progress is shown here."
    messages.add_message(request, messages.SUCCESS if is_plain else messages.WARNING, words)
