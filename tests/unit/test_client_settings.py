"""The environment and the token: read at the call, refused by name, never shown."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest

from hubspool.client.hf_api import HfApi
from hubspool.errors import HFValidationError, LocalTokenNotFoundError, SettingError
from hubspool.settings import Settings, Token, _colab_secret, check_endpoint, find_token, is_loopback

SECRET = "hf_neverShownAnywhere"


def test_defaults() -> None:
    settings = Settings.from_env({"HF_HOME": "/h"})
    assert settings.endpoint == "https://huggingface.co"
    assert settings.token_path == Path("/h/token")
    assert settings.xet_cache == Path("/h/xet")
    assert (settings.timeout, settings.commit_timeout) == (30, 90)
    assert (settings.xet, settings.offline, settings.progress_bars, settings.every) == (True, False, None, None)


def test_values_are_read_and_cleaned() -> None:
    settings = Settings.from_env(
        {
            "HF_ENDPOINT": "http://127.0.0.1:80/",
            "HF_HUB_OFFLINE": "YES",
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "0",
            "HUBSPOOL_EVERY": "0.2",
            "HUBSPOOL_TIMEOUT": "120",
            "HUBSPOOL_LOG": "info",
            "HF_TOKEN": f" {SECRET}\n",
            "HF_TOKEN_PATH": "~/t",
            "NO_COLOR": "1",
        }
    )
    assert settings.endpoint == "http://127.0.0.1:80"
    assert (settings.offline, settings.xet, settings.progress_bars) == (True, False, True)
    assert (settings.every, settings.timeout, settings.commit_timeout) == (0.2, 120, 120)
    assert (settings.log_level, settings.color) == ("INFO", False)
    assert settings.env_token == SECRET
    assert settings.token_path == Path.home() / "t"


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("HF_ENDPOINT", "hub.example", "http://"),
        ("HF_ENDPOINT", "http://host:port", "http://"),
        ("HF_HUB_OFFLINE", "maybe", "1 (on, yes, true)"),
        ("HUBSPOOL_EVERY", "often", "minutes"),
        ("HUBSPOOL_EVERY", "-1", "greater than 0"),
        ("HUBSPOOL_TIMEOUT", "inf", "seconds"),
        ("HUBSPOOL_LOG", "loud", "DEBUG"),
    ],
)
def test_what_cannot_be_read_is_named_with_what_is_allowed(name: str, value: str, allowed: str) -> None:
    with pytest.raises(SettingError) as caught:
        Settings.from_env({name: value})
    assert name in str(caught.value)
    assert repr(value) in str(caught.value)
    assert allowed in str(caught.value)


def test_the_token_comes_from_the_argument_then_the_variable_then_the_file(
    hub_environment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert find_token() is None
    with pytest.raises(LocalTokenNotFoundError, match="hubspool login"):
        find_token(True)
    hub_environment.mkdir()
    (hub_environment / "token").write_text("hf_file\n")
    assert find_token() == Token("hf_file", f"the file {hub_environment / 'token'}")
    monkeypatch.setenv("HF_TOKEN", "hf_variable")
    assert find_token() == Token("hf_variable", "HF_TOKEN")
    assert find_token("hf_argument") == Token("hf_argument", "the argument token")
    assert find_token(False) is None


@pytest.mark.parametrize("answer", ["hf_secret", KeyError("no such secret")])
def test_a_colab_notebook_has_its_secret_which_comes_last_and_is_asked_for_once(
    hub_environment: Path, monkeypatch: pytest.MonkeyPatch, answer: str | Exception
) -> None:
    asked: list[str] = []

    def get(name: str) -> str:
        asked.append(name)
        if isinstance(answer, Exception):
            raise answer
        return answer

    userdata = ModuleType("google.colab.userdata")
    userdata.get = get  # type: ignore[attr-defined] # as the notebook's kernel has it
    for name, module in {"google.colab": ModuleType("google.colab"), "google.colab.userdata": userdata}.items():
        monkeypatch.setitem(sys.modules, name, module)
    _colab_secret.cache_clear()
    found = [find_token(), find_token()]
    monkeypatch.setenv("HF_TOKEN", "hf_variable")
    assert find_token() == Token("hf_variable", "HF_TOKEN")
    _colab_secret.cache_clear()
    expected = Token("hf_secret", "the Colab secret HF_TOKEN") if isinstance(answer, str) else None
    assert found == [expected, expected]
    assert asked == ["HF_TOKEN"]


@pytest.mark.parametrize("bad", ["", "  ", "two words", "line\nbreak", "hf_\u00e4"])
def test_what_is_no_token_is_refused_without_showing_it(bad: str) -> None:
    with pytest.raises(HFValidationError) as caught:
        find_token(bad)
    assert not bad.strip() or bad not in str(caught.value)


def test_no_repr_shows_a_token(hub_environment: Path) -> None:
    api = HfApi("http://127.0.0.1:9", SECRET, headers={"X-Secret": SECRET})
    shown = [api, api.session, api.client(), Token(SECRET, "x"), Settings.from_env({"HF_TOKEN": SECRET})]
    assert SECRET not in repr(shown)


@pytest.mark.parametrize("bad", ["ftp://host", "http://", "host:80", "http://u:p@host", "http://host/?q=1"])
def test_an_address_that_is_no_hubs_is_refused(bad: str) -> None:
    with pytest.raises(SettingError, match="endpoint"):
        check_endpoint(bad, "endpoint")
    with pytest.raises(SettingError):
        HfApi(bad)


def test_loopback_addresses() -> None:
    assert all(map(is_loopback, ["http://127.0.0.1:1", "http://localhost", "http://[::1]:8", "http://127.3.2.1"]))
    assert not any(map(is_loopback, ["https://huggingface.co", "http://10.0.0.1", "http://localhost.example"]))
