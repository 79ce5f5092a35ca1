"""What Django's pages and mails about errors leave out."""

import re

from django.views.debug import SafeExceptionReporterFilter


class ReportFilter(SafeExceptionReporterFilter):
    """Hide the settings that Django hides, and those whose URL can hold a password."""

    hidden_settings = re.compile(
        f"{SafeExceptionReporterFilter.hidden_settings.pattern}|PROXY|REDIS|BROKER|DATABASE_URL",
        re.IGNORECASE,
    )
