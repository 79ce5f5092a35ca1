"""What every stored code means, in words for the people who read it, and what they can do."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Explanation:
    """A code in words.

    `title` names it in a few words, `meaning` says in one or two sentences what happened, and
    `what_to_do` what a member of staff can do about it, or that nothing needs to be done. With
    `is_best_left`, an immediate retry is useless: it is retried automatically, or would fail again. `reason`
    is the reason a waiting or paused task shows, in two or three words; by default the title.
    `for_operators` names settings and logs; staff see it only under *Technical details*.
    """

    title: str
    meaning: str
    what_to_do: str
    is_best_left: bool = False
    reason: str = ""
    for_operators: str = ""


# By code, which is stored on jobs, failures and tracks: of errors of the API, of work, and of a job's state.
EXPLANATIONS: dict[str, Explanation] = {
    "error": Explanation(
        "The call failed",
        "The call to Soundcharts did not give what was asked for, for a reason that has no name of its own.",
        "Try again; if it fails again, look into the logs.",
    ),
    "connection_failed": Explanation(
        "No connection",
        "Soundcharts could not be reached, or the connection broke, in all tries.",
        "Check this site's network, then try again.",
        reason="no connection",
    ),
    "dns_failed": Explanation(
        "Host name not found",
        "The address of the Soundcharts host could not be looked up.",
        "Ask an operator to check the DNS, then try again.",
        reason="host name not found",
        for_operators="Check SOUNDCHARTS_API_URL and the DNS of the machine.",
    ),
    "connection_refused": Explanation(
        "Connection refused",
        "The host refused the connection.",
        "Ask an operator to check the network, then try again.",
        reason="connection refused",
        for_operators="Check the host and port in SOUNDCHARTS_API_URL, and the firewall.",
    ),
    "connect_timeout": Explanation(
        "No connection in time",
        "The host did not accept a connection in time.",
        "Try again later. If it keeps happening, ask an operator to check the network.",
        reason="no connection",
        for_operators="A firewall that drops packets causes this.",
    ),
    "tls_failed": Explanation(
        "No secure connection",
        "The connection to Soundcharts was not secure, so no key was sent.",
        "The failure's message gives the cause. Ask an operator to fix it.",
        reason="no secure connection",
        for_operators="Check the machine's clock and, behind a proxy that re-signs, SOUNDCHARTS_CA_BUNDLE.",
    ),
    "proxy_failed": Explanation(
        "Proxy failed",
        "The proxy to Soundcharts could not be reached, or refused the call.",
        "The failure's message gives the cause. Ask an operator to fix it.",
        reason="proxy failed",
        for_operators="Check SOUNDCHARTS_PROXY: host, port, user and password.",
    ),
    "timeout": Explanation(
        "No answer in time",
        "Soundcharts did not answer within the time allowed, in all tries.",
        "Try again later.",
        for_operators="If it happens often, raise SOUNDCHARTS_TIMEOUT.",
    ),
    "upstream_unavailable": Explanation(
        "Soundcharts had a problem",
        "Soundcharts, or a gateway in front of it, failed on every attempt. Such calls cost nothing.",
        "Try again when Soundcharts is well again.",
        reason="server error",
    ),
    "invalid_response": Explanation(
        "Answer not understood",
        "Soundcharts sent something else than what it documents, so nothing of it was saved.",
        "Try again later. If it stays so, the failure's message says what was wrong with the answer.",
        reason="unreadable answer",
    ),
    "incomplete_response": Explanation(
        "Answer incomplete",
        "Soundcharts reported errors or sent only part of the answer. The part received was saved.",
        "Try again later. If it keeps happening, ask Soundcharts about it.",
    ),
    "list_repeats": Explanation(
        "List repeats itself",
        "Soundcharts repeated songs that this import already had, so the import stopped.",
        "Nothing to do: every listed song is here.",
        is_best_left=True,
    ),
    "first_rows_unknown": Explanation(
        "First rows unknown",
        "None of the first rows were found, so the import paused to save calls.",
        "Cancel it and import the right list. If you resume it, it runs to the end without pausing again.",
    ),
    "known_tracks_missing": Explanation(
        "Known tracks not found",
        "Many tracks in a row were not found, although Soundcharts knew them before. The task paused.",
        "Check a few of them at Soundcharts. If they are gone, resume: the task will not pause again.",
        reason="known tracks not found",
    ),
    "answers_unreadable": Explanation(
        "Answers make no sense",
        "The answers to several batches in a row could not be read. Tracks not tried are unchanged.",
        "Check whether Soundcharts has an outage, or a proxy answers instead. Resume the task when the "
        "problem is solved.",
        reason="unreadable answers",
    ),
    "rate_limited": Explanation(
        "Too many calls a minute",
        "The calls that are allowed in a minute were used up.",
        "Nothing to do: the work resumes automatically. You can retry a single fetch in a minute.",
        reason="rate limit",
    ),
    "quota_exhausted": Explanation(
        "No calls left",
        "The Soundcharts plan has no calls left, so nothing was fetched.",
        "Fetch it again when the quota renews.",
    ),
    "quota_reserved": Explanation(
        "Only the reserve is left",
        "The calls remaining are reserved for manual fetches, so bulk work waits.",
        "Nothing to do: the task resumes when the quota renews.",
        reason="only reserved calls left",
        for_operators="To spend the reserve, lower SOUNDCHARTS_QUOTA_RESERVE and restart the workers.",
    ),
    "authentication_failed": Explanation(
        "Credentials refused",
        "Soundcharts does not accept our credentials, so no call can work.",
        "Ask an operator to correct the API keys, then fetch again.",
        for_operators="Correct the API keys in the settings and restart all processes.",
    ),
    "forbidden": Explanation(
        "Not in the plan",
        "The Soundcharts plan does not include what was asked for.",
        "Ask for something the plan includes (an artist's songs instead of the top songs), or change the "
        "plan. Then resume the task if it is paused, or ask anew.",
    ),
    "song_forbidden": Explanation(
        "Refused for this song",
        "Soundcharts refuses the audience of this song, on a platform that the plan includes.",
        "Ask Soundcharts for the reason. The audience is fetched again automatically, with growing delays.",
        is_best_left=True,
    ),
    "unreadable_figures": Explanation(
        "Figures not understood",
        "Soundcharts sent some figures that cannot be read. The others were saved.",
        "The message names the days. Try again later; if it keeps happening, report it to Soundcharts.",
    ),
    "endless_pages": Explanation(
        "Too many pages",
        "Soundcharts announced more pages of figures than are possible. The pages already read are saved.",
        "Report it to Soundcharts. The figures are fetched again automatically, with growing delays.",
        is_best_left=True,
    ),
    "not_found": Explanation(
        "Unknown at Soundcharts",
        "Soundcharts does not know this identifier. The track keeps the data it has.",
        "Check the UUID. If it is right, do nothing: it is fetched again automatically after 1, 2, 4, up to "
        "32 days.",
        is_best_left=True,
    ),
    "ambiguous_isrc": Explanation(
        "Ambiguous ISRC",
        "Several recordings share this ISRC, so Soundcharts cannot tell which one is meant. The track keeps "
        "the data it has.",
        "Add the right recording by its Soundcharts UUID. The same ISRC gives the same answer again.",
        is_best_left=True,
    ),
    "moved": Explanation(
        "Merged at Soundcharts",
        "Soundcharts merged this song into another one, with another UUID. The track keeps the data it has.",
        "Adopt the new UUID on the track's page.",
        is_best_left=True,
    ),
    "invalid_request": Explanation(
        "Request refused",
        "Soundcharts rejected the request itself; asking again in the same way does not help.",
        "Check the track's UUID: correct it by adding the right track, and delete the wrong one.",
        is_best_left=True,
    ),
    "worker_lost": Explanation(
        "Workers died on it",
        "Every worker that tried this track was killed or crashed, so it was set aside for the others' sake.",
        "Look into the workers' logs (often they ran out of memory), then try again.",
    ),
    "not_saved": Explanation(
        "Refused by the database",
        "Soundcharts answered, but the database did not accept the values.",
        "The workers' logs have the reason. Report it to those who look after Liner Notes.",
    ),
    "all_failed": Explanation(
        "None could be fetched",
        "Every track of this task failed.",
        "The failures of the task say why; they can be retried together once the cause is gone.",
    ),
    "internal_error": Explanation(
        "Unexpected error",
        "Liner Notes hit an unexpected error. It saved every answer that it could.",
        "Give the reference to an operator. Resume the task once the cause is fixed.",
        reason="unexpected error",
        for_operators="Search the workers' logs for the reference.",
    ),
    "by_hand": Explanation(
        "Paused by hand",
        "Somebody paused this task. Nothing is lost.",
        "Resume it when you are ready. It continues where it stopped.",
    ),
    "broker_unreachable": Explanation(
        "Queue unavailable",
        "The workers could not be notified. Nothing is lost.",
        "Nothing to do: the task starts within a minute once the queue is back.",
        reason="queue unavailable",
        for_operators="Start Redis, or check REDIS_URL.",
    ),
}


# The same codes for a task that they paused: it fetches the rest once it resumes.
OF_PAUSED_TASKS: dict[str, Explanation] = {
    "quota_exhausted": Explanation(
        "No calls left",
        "The Soundcharts plan has no calls left. Tracks not fetched are unchanged.",
        "Nothing to do: the task resumes when the quota renews. This is checked every 15 minutes.",
    ),
    "authentication_failed": Explanation(
        "Credentials refused",
        "Soundcharts does not accept our credentials, so no call can work.",
        "Ask an operator to correct the API keys, then resume the task.",
        for_operators="Correct the API keys in the settings and restart all processes.",
    ),
}

# What the same codes mean for a row of a list that was imported: there is no track of it.
OF_IMPORTED_ROWS: dict[str, Explanation] = {
    "not_found": Explanation(
        "Unknown at Soundcharts",
        "Soundcharts does not know this UUID or ISRC, so no track was added.",
        "Correct it and import it again. For unknown ISRCs, you can schedule checks in the report.",
        is_best_left=True,
    ),
    "ambiguous_isrc": Explanation(
        "Ambiguous ISRC",
        "Several recordings share this ISRC, so nothing was added.",
        "Import the right recording by its Soundcharts UUID.",
        is_best_left=True,
    ),
    "moved": Explanation(
        "Merged at Soundcharts",
        "Soundcharts merged this song into another one, with another UUID.",
        "Import the new UUID, which the message names.",
        is_best_left=True,
    ),
    "invalid_request": Explanation(
        "Request refused",
        "Soundcharts rejected the request itself; asking again in the same way does not help.",
        "Check the UUID or ISRC, and import the right one.",
        is_best_left=True,
    ),
    "worker_lost": Explanation(
        "Workers died on it",
        "Every worker that tried this row was killed or crashed, so it was set aside for the others' sake.",
        "Look into the workers' logs (often they ran out of memory), then try again.",
    ),
}


def explain(code: str, *, is_of_import: bool = False, is_of_paused: bool = False) -> Explanation:
    """Return what a stored code means; one without words of its own is named as it is.

    `is_of_import` marks the failure of an import row, which has no track; `is_of_paused` marks the reason
    that a task is paused.
    """
    if is_of_paused and code in OF_PAUSED_TASKS:
        return OF_PAUSED_TASKS[code]
    if is_of_import and code in OF_IMPORTED_ROWS:
        return OF_IMPORTED_ROWS[code]
    return EXPLANATIONS.get(code) or Explanation(
        code.replace("_", " ").capitalize() or "No code",
        "There is no explanation for this code.",
        "The message beside it and the workers' logs say more.",
    )
