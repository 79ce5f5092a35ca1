"""The admin: the pages that staff live in."""

from catalog.admin.jobs import FetchFailureAdmin, MetadataFetchTaskAdmin
from catalog.admin.schedule import RefreshPolicyAdmin
from catalog.admin.tracks import TrackAdmin
from catalog.admin.users import GroupAdmin, UserAdmin

__all__ = [
    "FetchFailureAdmin",
    "GroupAdmin",
    "MetadataFetchTaskAdmin",
    "RefreshPolicyAdmin",
    "TrackAdmin",
    "UserAdmin",
]
