"""What a failure of one track means for the person who looks at it, and what to do."""

# From the stable code of an error to what to do next. What happened is in the error's own message.
ADVICE = {
    "not_found": "Check the UUID. It is asked for again by itself, after a day at first and then less often.",
    "blacklisted": "The recording was withdrawn. It is asked for again by itself, less and less often.",
    "invalid_request": "Check the UUID: a track with a wrong one is best deleted and added again.",
    "invalid_response": "Try again later. If it stays so, the web server's log has the reason.",
    "connection_failed": "Try again in a minute. If it stays so, check this site's network.",
    "timeout": "Try again in a minute.",
    "upstream_unavailable": "Try again when Soundcharts is well again. Such a call is not charged.",
    "rate_limited": "Try again in a minute: too many calls were made in this one.",
    "quota_exhausted": "Nobody can fetch until the plan is renewed or raised.",
    "quota_reserved": "Bulk tasks wait for the renewal. One track at a time can still be fetched by hand.",
    "authentication_failed": "Ask whoever runs this site to correct the Soundcharts credentials.",
    "forbidden": "Ask whoever has the Soundcharts account what the plan includes.",
    "worker_lost": "Ask whoever runs this site to look into the workers' logs before it is tried again.",
    "not_saved": "Ask whoever runs this site to look into the log; trying again meets the same.",
}


def advice_on(code: str) -> str:
    """Return what to do after a failure with this code; for an unknown one, what never harms."""
    return ADVICE.get(code, "Try again later. If it stays so, ask whoever runs this site.")
