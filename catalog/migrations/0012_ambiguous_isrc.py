"""410 means that several recordings share an ISRC, not that a recording was withdrawn: rename the stored code.

A track that was held back as absent for it is awaited again. Reverting renames back; who was held back is forgotten.
"""

from django.db import migrations
from django.db.models import F, Value
from django.db.models.functions import Replace

from catalog.migrating import LongMigration

WITHDRAWN = ("blacklisted", "Soundcharts has blacklisted this identifier.")
AMBIGUOUS = ("ambiguous_isrc", "This ISRC belongs to several recordings. Use the Soundcharts UUID instead.")


def rename(apps, schema_editor):
    _rename(apps, WITHDRAWN, AMBIGUOUS)
    for model, prefix in (("Track", "metadata_"), ("TrackAudience", "")):
        columns = {f"{prefix}absences": 0, f"{prefix}retry_at": None}
        rows = apps.get_model("catalog", model).objects.order_by()
        rows.filter(**{f"{prefix}error": AMBIGUOUS[0]}).update(**columns)


def rename_back(apps, schema_editor):
    _rename(apps, AMBIGUOUS, WITHDRAWN)


def _rename(apps, before, after):
    (code, sentence), (new_code, new_sentence) = before, after

    def rows(model):
        return apps.get_model("catalog", model).objects.order_by()

    def with_new_sentence(column):
        return {column: Replace(F(column), Value(sentence), Value(new_sentence))}

    # A worker of the other version may have counted under the other name already.
    for count in rows("FailureCount").filter(code=code, job__failure_counts__code=new_code):
        rows("FailureCount").filter(job=count.job_id, code=new_code).update(count=F("count") + count.count)
        count.delete()
    rows("FailureCount").filter(code=code).update(code=new_code)
    rows("FetchFailure").filter(code=code).update(code=new_code, **with_new_sentence("message"))
    rows("JobEvent").filter(code=code).update(code=new_code, **with_new_sentence("text"))
    jobs = rows("MetadataFetchTask")
    jobs.filter(error_code=code).update(error_code=new_code, **with_new_sentence("error_message"))
    rows("ApiAccount").filter(last_error=code).update(
        last_error=new_code, **with_new_sentence("last_error_message")
    )
    rows("Track").filter(metadata_error=code).update(metadata_error=new_code)
    rows("TrackAudience").filter(error=code).update(error=new_code)
    rows("ImportRow").filter(outcome="failed", message__contains=sentence).update(
        **with_new_sentence("message")
    )
    # Failures of one code that are tried again: by request, and by what tells one request from another.
    for job in jobs.filter(dedupe_key__startswith="failures:", dedupe_key__endswith=f":{code}"):
        job.dedupe_key = job.dedupe_key.removesuffix(code) + new_code
        job.request["code"] = new_code
        job.save(update_fields=["dedupe_key", "request"])
    for snapshot in rows("CatalogueSnapshot"):
        if (count := snapshot.failures.pop(code, None)) is not None:
            snapshot.failures[new_code] = snapshot.failures.get(new_code, 0) + count
            snapshot.save(update_fields=["failures"])


class Migration(LongMigration):
    dependencies = [("catalog", "0011_audience_asked_until")]

    operations = [migrations.RunPython(rename, rename_back)]
