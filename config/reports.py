"""Hide secrets in Django's error pages and mails."""

import re

from django.views.debug import SafeExceptionReporterFilter


class ReportFilter(SafeExceptionReporterFilter):
    """Hide the settings that Django hides, and URLs that can hold a password."""

    hidden_settings = re.compile(
        f"{SafeExceptionReporterFilter.hidden_settings.pattern}|PROXY|REDIS|BROKER|DATABASE_URL",
        re.IGNORECASE,
    )
