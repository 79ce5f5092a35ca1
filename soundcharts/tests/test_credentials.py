from __future__ import annotations

import pytest

from soundcharts.credentials import ApiKeyCredentials, Credentials, OAuthCredentials

SECRET = "a-very-secret-secret"


@pytest.mark.parametrize(
    "credentials", [ApiKeyCredentials("app", SECRET), OAuthCredentials("client", SECRET, team_id="team")]
)
def test_secret_is_in_neither_repr_nor_fingerprint(credentials: Credentials) -> None:
    assert SECRET not in repr(credentials)
    assert SECRET not in credentials.fingerprint
    assert credentials.secrets == (SECRET,)


@pytest.mark.parametrize("secret", ["", "line\nbreak", " leading", "naïve", "two words"])
def test_secret_that_cannot_stand_in_a_header_is_refused_without_being_quoted(secret: str) -> None:
    with pytest.raises(ValueError, match="Soundcharts API key") as raised:
        ApiKeyCredentials("app", secret)

    assert not secret or secret not in str(raised.value)


def test_fingerprint_belongs_to_the_account_and_outlives_a_new_key() -> None:
    assert ApiKeyCredentials("app", "old").fingerprint == ApiKeyCredentials("app", "new").fingerprint


def test_accounts_have_different_fingerprints() -> None:
    fingerprints = {
        ApiKeyCredentials("app", SECRET).fingerprint,
        ApiKeyCredentials("other", SECRET).fingerprint,
        OAuthCredentials("app", SECRET).fingerprint,
        OAuthCredentials("app", SECRET, team_id="team").fingerprint,
    }

    assert len(fingerprints) == 4


@pytest.mark.parametrize(
    "url",
    [
        "",
        "account.example/token",
        "ftp://account.example",
        "https://",
        "https://user:pw@host/x",
        "https://h:x/",
    ],
)
def test_auth_url_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="auth URL"):
        OAuthCredentials("client", SECRET, auth_url=url)
