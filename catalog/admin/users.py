"""Users and groups, in the admin's own theme."""

from django.contrib import admin
from django.contrib.auth.admin import GroupAdmin as BaseGroupAdmin
from django.contrib.auth.admin import UserAdmin as BaseUserAdmin
from django.contrib.auth.models import Group, User
from unfold.admin import ModelAdmin
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm

from catalog.admin.history import NewestFirst
from catalog.admin.shared_forms import SharedModelForm, SharedPage

admin.site.unregister(User)
admin.site.unregister(Group)


class UserForm(SharedModelForm, UserChangeForm):
    """A user as an administrator sees them."""


@admin.register(User)
class UserAdmin(SharedPage, NewestFirst, BaseUserAdmin, ModelAdmin):  # type: ignore[type-arg]
    form = UserForm
    add_form = UserCreationForm
    change_password_form = AdminPasswordChangeForm


@admin.register(Group)
class GroupAdmin(SharedPage, NewestFirst, BaseGroupAdmin, ModelAdmin):
    form = SharedModelForm
