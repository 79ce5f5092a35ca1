"""The admin: the pages that staff live in."""

from catalog.admin.failures import FetchFailureAdmin
from catalog.admin.jobs import MetadataFetchTaskAdmin
from catalog.admin.schedule import RefreshPolicyAdmin
from catalog.admin.track_changes import TrackChangeAdmin
from catalog.admin.tracks import TrackAdmin
from catalog.admin.users import GroupAdmin, UserAdmin

__all__ = [
    "FetchFailureAdmin",
    "GroupAdmin",
    "MetadataFetchTaskAdmin",
    "RefreshPolicyAdmin",
    "TrackAdmin",
    "TrackChangeAdmin",
    "UserAdmin",
]
