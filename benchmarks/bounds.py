"""What every figure must be. Speeds are bound to what the same run allows, never to a fast machine."""

from collections.abc import Sequence

from benchmarks.figures import Bound, Line, Section, at_least, at_most

CALLS_PER_MINUTE = 5000
BATCH = 10
LATENCY = 0.2
CEILING = CALLS_PER_MINUTE * BATCH / 60
# A call brings the figures of one track.
AUDIENCE_CEILING = CALLS_PER_MINUTE / 60
AUDIENCE_CPU_SECONDS = 6.0

# Costs whose growth is shown: figure, words, format.
GROWING = (
    ("stale_query", "first stale chunk, ms", ",.1f"),
    ("plan", "planning, s", ",.2f"),
    ("plan_per_thousand", "planning, ms per 1,000 tracks", ",.1f"),
    ("plan_memory", "planning, MB above idle", ",.1f"),
    ("click", "click, ms", ",.0f"),
    ("changelist", "list in the admin, ms", ",.0f"),
)

# Pages of the list of tracks: figure, query. One track in five is of the label, one name in ten begins with
# each word.
PAGES = {
    "search": "?q=harbour+echo+471",
    "search_many": "?q=echo",
    "search_none": "?q=zephyr",
    "search_uuid": "?q=00000000-0000-4000-8000-000000000000",
    "label": "?label=northern+star",
    "label_none": "?label=nothing",
    "genre": "?genre=Echo",
    "year": "?year_from=1990&year_to=1991",
    "audience": "?audience=with",
    "filter": "?freshness=stale",
    "never": "?freshness=never",
    "fresh": "?freshness=fresh",
    "failing": "?freshness=failing",
    "search_and_filter": "?q=echo&label=northern+star",
    "by_name": "?o=1",
    "by_name_down": "?o=-1",
    "by_isrc": "?o=2",
    "by_label": "?o=3",
    "by_genre": "?o=4",
    "by_release": "?o=-5",
    "by_freshness": "?o=6",
}


def sizes(*, is_quick: bool) -> list[int]:
    """Return the numbers of tracks at which the growth is measured."""
    return [1_000, 10_000] if is_quick else [1_000, 10_000, 100_000, 1_000_000]


def sections(*, is_quick: bool) -> list[Section]:
    """Return the table: what is shown of each benchmark, and what it must be."""
    # Connecting, warming up and ending weigh five times as much on a fifth of the tracks.
    share, unpaced_share, cpu_seconds, growth = (0.7, 0.3, 1.0, 0.25) if is_quick else (0.95, 0.5, 0.7, 0.1)
    # Two machines would give nearly twice as much; here they share two cores with the database, the broker
    # and the API, which leave no more.
    scaling = 1.1 if is_quick else 1.2
    fetched = "2,000" if is_quick else "10,000"
    kept = "10,000" if is_quick else "100,000"
    largest = max(sizes(is_quick=is_quick))
    return [
        Section(
            "paced",
            f"Fetching {fetched} tracks: {CALLS_PER_MINUTE:,} calls/min, {BATCH} tracks and 200 ms a call",
            [
                _saved(),
                Line(
                    "tracks_per_second",
                    "tracks/s, from the click to the last commit",
                    ",.0f",
                    at_least(share * CEILING, f"≥ {share:.0%} of the ceiling, {CEILING:,.0f}"),
                ),
                Line(
                    "steady_per_second",
                    "tracks/s, without the first and last tenth",
                    ",.0f",
                    at_least(0.95 * CEILING, f"≥ 95% of the ceiling, {CEILING:,.0f}"),
                ),
                Line(
                    "calls_per_minute",
                    "calls/min",
                    ",.0f",
                    at_most(CALLS_PER_MINUTE, f"≤ the ceiling, {CALLS_PER_MINUTE:,}"),
                ),
                *_fetching_costs(cpu_seconds),
            ],
        ),
        Section(
            "people",
            "Fetching single tracks in the admin while a bulk run spends every call",
            [
                Line(
                    "slowest_press", "slowest of ten presses, s", ",.2f", at_most(1 + LATENCY, "≤ 1 + 200 ms")
                ),
                Line("answered_presses", "presses that brought the track", ",.0f", at_least(10, "all")),
                Line("bulk_went_on", "the bulk run went on all the while", ",.0f", at_least(1, "1: yes")),
            ],
        ),
        Section(
            "unpaced",
            f"Fetching {fetched} tracks: no ceiling, {BATCH} tracks and 200 ms a call",
            [
                _saved(),
                Line(
                    "tracks_per_second",
                    "tracks/s, from the click to the last commit",
                    ",.0f",
                    Bound(
                        f"≥ {unpaced_share:.0%} of calls only",
                        least=lambda figures: unpaced_share * figures["calls_only"],
                    ),
                ),
                Line(
                    "calls_only",
                    "tracks/s, calls only: nothing parsed or saved",
                    ",.0f",
                    at_least(CEILING, f"≥ the ceiling, {CEILING:,.0f}, or nothing is shown"),
                ),
                *_fetching_costs(cpu_seconds),
            ],
        ),
        Section(
            "scaling",
            f"Fetching {fetched} tracks with several workers of one process: no ceiling",
            [
                Line("workers@1", "tracks/s with one", ",.0f", at_least(1, "(compared below)")),
                Line(
                    "busy@1", "of the machine busy meanwhile", ",.0%", at_most(1, "(why no more is gained)")
                ),
                Line(
                    "workers@2",
                    "tracks/s with two",
                    ",.0f",
                    Bound(f"≥ {scaling} × one", least=lambda figures: scaling * figures["workers@1"]),
                ),
                Line(
                    "busy@2", "of the machine busy meanwhile", ",.0%", at_most(1, "(why no more is gained)")
                ),
                # More of them than cores: they must not be in each other's way.
                Line(
                    "workers@4",
                    "tracks/s with four",
                    ",.0f",
                    Bound("≥ 0.85 × two", least=lambda figures: 0.85 * figures["workers@2"]),
                ),
                Line(
                    "busy@4", "of the machine busy meanwhile", ",.0%", at_most(1, "(why no more is gained)")
                ),
            ],
        ),
        Section(
            "memory",
            f"Memory over {kept} tracks: no ceiling, no latency",
            [
                _saved(),
                Line("warm_memory", "worker with 2 processes, MB, after a fifth", ",.0f", at_most(300)),
                Line("end_memory", "the same at the end, MB", ",.0f", at_most(300)),
                # An allocator's heap settles slowly; what a leak keeps of each track would be far more.
                Line("growth", "growth from there", ",.1%", at_most(growth, f"≤ {growth:.0%}")),
            ],
        ),
        Section(
            "audience",
            f"Refreshing the audience of {fetched} of {kept} tracks: {CALLS_PER_MINUTE:,} calls/min",
            [
                _saved(),
                Line(
                    "tracks_per_second",
                    "tracks/s, from the click to the last commit",
                    ",.1f",
                    at_least(
                        share * AUDIENCE_CEILING, f"≥ {share:.0%} of the ceiling, {AUDIENCE_CEILING:,.1f}"
                    ),
                ),
                Line(
                    "steady_per_second",
                    "tracks/s, without the first and last tenth",
                    ",.1f",
                    at_least(0.95 * AUDIENCE_CEILING, f"≥ 95% of the ceiling, {AUDIENCE_CEILING:,.1f}"),
                ),
                Line(
                    "calls_per_minute",
                    "calls/min",
                    ",.0f",
                    at_most(CALLS_PER_MINUTE, f"≤ the ceiling, {CALLS_PER_MINUTE:,}"),
                ),
                *_fetching_costs(AUDIENCE_CPU_SECONDS, tracks_a_call=1),
                Line("list", "list with trends, ms", ",.0f", at_most(200)),
                Line("sorted_list", "the same, sorted by figure or gain, ms", ",.0f", at_most(200)),
                Line("rising_list", "the same, smallest first, ms", ",.0f", at_most(200)),
                Line("track_page", "page of a track with a year's chart, ms", ",.0f", at_most(200)),
            ],
        ),
        Section(
            "growth",
            f"At {largest:,} tracks",
            [
                Line("stale_query", "first stale chunk, ms", ",.1f", at_most(50)),
                Line("is_found_by_index", "and it is found by an index", ",.0f", at_least(1, "1: yes")),
                Line("click", "the click (request_stale_metadata), ms", ",.0f", at_most(300)),
                Line("button", "the button in the admin, ms", ",.0f", at_most(300)),
                Line("first_saved", "from the click to the first saved tracks, s", ",.2f", at_most(2)),
                Line("messages", "messages that wait meanwhile", ",.0f", at_most(4, "≤ 2 a worker process")),
                Line("plan_memory", "planning, MB above idle", ",.1f", at_most(50)),
                Line(
                    "plan_per_thousand",
                    "planning, ms per 1,000 tracks",
                    ",.1f",
                    Bound(
                        "≤ 2 × that at 10,000 tracks",
                        most=lambda figures: 2 * figures["plan_per_thousand@10000"],
                    ),
                ),
                Line("unplanned", "tracks planned too few or too often", ",.0f", at_most(0)),
                Line("changelist", "list in the admin, ms", ",.0f", at_most(200)),
                Line("last_page", "its last page, ms", ",.0f", at_most(200)),
                Line("middle_page", "its middle page, ms", ",.0f", at_most(200)),
                *(
                    Line(name, f"list {query.replace('+', ' ')}, ms", ",.0f", at_most(200))
                    for name, query in PAGES.items()
                ),
                Line("price", "price before everything stale is fetched, ms", ",.0f", at_most(300)),
                Line("confirm", "price of all pages of a list, ms", ",.0f", at_most(300)),
                Line("select_all", "the click that fetches all pages, ms", ",.0f", at_most(200)),
                Line("first_chunk", "first planned step of it, ms", ",.0f", at_most(200)),
            ],
        ),
    ]


def _saved() -> Line:
    return Line("saved", "tracks saved", ",.0f", Bound("all", least=lambda figures: figures["tracks"]))


def _fetching_costs(cpu_seconds: float, *, tracks_a_call: int = BATCH) -> Sequence[Line]:
    return (
        Line("tracks_per_call", "tracks per call", ",.2f", at_least(tracks_a_call)),
        Line(
            "uncounted_calls",
            "calls that the job counted wrongly",
            ",.0f",
            Bound("0", least=lambda _: 0, most=lambda _: 0),
        ),
        Line("refusals", "calls refused for the rate", ",.0f", at_most(0)),
        Line("cpu_per_thousand", "CPU seconds per 1,000 tracks", ",.2f", at_most(cpu_seconds)),
        Line("peak_memory", "peak memory of worker with 2 processes, MB", ",.0f", at_most(300)),
    )
