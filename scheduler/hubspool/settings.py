"""Reads the environment, in one place and at the time of each call.

Names that huggingface_hub reads too mean the same here. Nothing is cached, so a test, a notebook or an app can change a
variable while it runs.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

from hubspool.errors import HFValidationError, LocalTokenNotFoundError, SettingError

logger = logging.getLogger(__name__)

DEFAULT_ENDPOINT = "https://huggingface.co"
#: Seconds that an answer may take, and 32 kB of a transfer.
DEFAULT_TIMEOUT = 30.0
#: The same for a commit. Above the Hub's own limit of 60 s, so that a late commit is not taken for a lost one.
COMMIT_TIMEOUT = 90.0
_TRUE = frozenset({"1", "on", "yes", "true"})
_FALSE = frozenset({"", "0", "off", "no", "false"})
_LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")


@dataclass(frozen=True)
class Settings:
    """The values of the environment variables.

    Attributes:
        endpoint: address of the Hub, without a trailing slash (HF_ENDPOINT).
        hf_home: folder of tokens and caches (HF_HOME).
        env_token: the token in HF_TOKEN, not shown by repr.
        hub_cache: folder of downloaded files (HF_HUB_CACHE).
        token_path: file with the token of `hubspool login` (HF_TOKEN_PATH).
        offline: allow requests only to a Hub on this machine (HF_HUB_OFFLINE).
        xet: allow uploads through hf_xet (HF_HUB_DISABLE_XET).
        progress_bars: whether to show progress bars; None: only on a terminal (HF_HUB_DISABLE_PROGRESS_BARS).
        xet_cache: folder of hf_xet's caches (HF_XET_CACHE).
        repo: repository to use on the real Hub (HUBSPOOL_REPO).
        every: minutes between pushes (HUBSPOOL_EVERY).
        timeout: seconds that one answer may take, and 32 kB of a transfer (HUBSPOOL_TIMEOUT).
        log_level: log level of the command line and the demo (HUBSPOOL_LOG).
        space_id: id of the Space that this process runs in (SPACE_ID).
        color: whether to use colour; None: only on a terminal (NO_COLOR, FORCE_COLOR).
    """

    endpoint: str
    hf_home: Path
    hub_cache: Path
    env_token: str | None = field(repr=False)
    token_path: Path
    offline: bool
    xet: bool
    progress_bars: bool | None
    xet_cache: Path
    repo: str | None
    every: float | None
    timeout: float
    log_level: str
    space_id: str | None
    color: bool | None

    @property
    def commit_timeout(self) -> float:
        """Seconds that the answer to a commit may take."""
        return max(COMMIT_TIMEOUT, self.timeout)

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> Settings:
        """Read the environment.

        Raises:
            SettingError: a variable cannot be parsed; the message names it, its value and the allowed values.
        """
        env = os.environ if environ is None else environ
        cache = _path(env, "XDG_CACHE_HOME") or Path("~/.cache").expanduser()
        home = _path(env, "HF_HOME") or cache / "huggingface"
        disabled_bars = env.get("HF_HUB_DISABLE_PROGRESS_BARS")
        return cls(
            endpoint=check_endpoint(env.get("HF_ENDPOINT", "").strip() or DEFAULT_ENDPOINT, "HF_ENDPOINT"),
            hf_home=home,
            hub_cache=_path(env, "HF_HUB_CACHE") or _path(env, "HUGGINGFACE_HUB_CACHE") or home / "hub",
            env_token=_clean_token(env.get("HF_TOKEN"), "HF_TOKEN"),
            token_path=_path(env, "HF_TOKEN_PATH") or home / "token",
            offline=_flag(env, "HF_HUB_OFFLINE"),
            xet=not _flag(env, "HF_HUB_DISABLE_XET"),
            progress_bars=None if not disabled_bars else not _flag(env, "HF_HUB_DISABLE_PROGRESS_BARS"),
            xet_cache=_path(env, "HF_XET_CACHE") or home / "xet",
            repo=env.get("HUBSPOOL_REPO") or None,
            every=_positive(env, "HUBSPOOL_EVERY", "minutes"),
            timeout=_positive(env, "HUBSPOOL_TIMEOUT", "seconds") or DEFAULT_TIMEOUT,
            log_level=_log_level(env),
            space_id=env.get("SPACE_ID") or None,
            color=False if env.get("NO_COLOR") else True if env.get("FORCE_COLOR") else None,
        )


@dataclass(frozen=True)
class Token:
    """A token and its source; only the source is ever shown."""

    value: str = field(repr=False)
    source: str


def find_token(token: str | bool | None = None) -> Token | None:
    """Return the first token of: the argument, HF_TOKEN, the token file, the secret of a Colab notebook.

    Args:
        token: a token; True: there must be one; None: use one if there is one; False: use none.

    Raises:
        LocalTokenNotFoundError: `token` is True and there is none.
        HFValidationError: the token has characters that no token has. The message names its source, not the token.
    """
    if token is False:
        return None
    if isinstance(token, str):
        if clean := _clean_token(token, "the argument token"):
            return Token(clean, "the argument token")
        raise HFValidationError("The argument token is empty.", hint=LocalTokenNotFoundError.default_hint)
    settings = Settings.from_env()
    if settings.env_token:
        return Token(settings.env_token, "HF_TOKEN")
    source = f"the file {settings.token_path}"
    try:
        stored = _clean_token(settings.token_path.read_text(encoding="utf-8"), source)
    except FileNotFoundError:
        stored = None
    except (OSError, UnicodeDecodeError) as error:
        raise HFValidationError(f"The token cannot be read from {source}: {type(error).__name__}.") from None
    if stored:
        return Token(stored, source)
    if secret := _clean_token(_colab_secret(), "the Colab secret HF_TOKEN"):
        return Token(secret, "the Colab secret HF_TOKEN")
    if token is True:
        raise LocalTokenNotFoundError("A token is required, but there is none.")
    return None


def process_rank() -> int:
    """Return this process's number in a distributed run (RANK of torchrun, else SLURM_PROCID); 0 outside of one.

    Raises:
        SettingError: the variable is not a number.
    """
    name = "RANK" if os.environ.get("RANK") else "SLURM_PROCID"
    value = os.environ.get(name, "").strip() or "0"
    if not value.isdecimal():
        raise SettingError(f"{name} is {value!r}.", hint="Unset it, or set it to the number of this process, from 0.")
    return int(value)


@cache
def _colab_secret() -> str | None:
    """Return the secret HF_TOKEN of this Colab notebook; read only once, because Colab asks the person each time."""
    if "google.colab" not in sys.modules:  # a notebook's kernel has loaded it; searching for it takes long
        return None
    from importlib import import_module

    try:
        return str(import_module("google.colab.userdata").get("HF_TOKEN"))
    except Exception as error:  # noqa: BLE001 - the classes of its errors exist only in Colab
        logger.info("The Colab secret HF_TOKEN cannot be used: %s", type(error).__name__)
        return None


def is_loopback(url: str) -> bool:
    """Return whether `url` is an address of this machine."""
    return is_loopback_host(urlsplit(url).hostname or "")


def is_loopback_host(host: str) -> bool:
    """Return whether a name or address leads to this machine with every resolver."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    from ipaddress import ip_address

    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _clean_token(value: str | None, source: str) -> str | None:
    token = (value or "").strip()
    if not token:
        return None
    if not token.isascii() or not token.isprintable() or " " in token:
        raise HFValidationError(
            f"The content of {source} is not a token: it has spaces, line breaks or characters outside ASCII.",
            hint="Copy the token again from https://huggingface.co/settings/tokens.",
        )
    return token


def check_endpoint(value: str, name: str) -> str:
    """Return the address of a Hub without a trailing slash.

    Raises:
        SettingError: the value is not an http or https address; `name` is its source in the message.
    """
    try:
        parts = urlsplit(value)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable or parts.query or parts.fragment or parts.username:
        raise SettingError(
            f"{name} is {value!r}, which is not the address of a Hub.",
            hint=f"Use http://HOST[:PORT] or https://HOST, for example {DEFAULT_ENDPOINT}.",
        )
    return value.rstrip("/")


def _path(env: Mapping[str, str], name: str) -> Path | None:
    value = env.get(name)
    return Path(value).expanduser() if value else None


def _flag(env: Mapping[str, str], name: str) -> bool:
    value = env.get(name, "").strip().lower()
    if value in _TRUE:
        return True
    if value in _FALSE:
        return False
    raise SettingError(f"{name} is {env[name]!r}.", hint="Use 1 (on, yes, true) or 0 (off, no, false).")


def _positive(env: Mapping[str, str], name: str, unit: str) -> float | None:
    value = env.get(name, "").strip()
    if not value:
        return None
    try:
        number = float(value)
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        raise SettingError(f"{name} is {env[name]!r}.", hint=f"Use a number of {unit} greater than 0.")
    return number


def _log_level(env: Mapping[str, str]) -> str:
    value = env.get("HUBSPOOL_LOG", "").strip().upper() or "WARNING"
    if value not in _LOG_LEVELS:
        raise SettingError(f"HUBSPOOL_LOG is {env['HUBSPOOL_LOG']!r}.", hint=f"Use one of {', '.join(_LOG_LEVELS)}.")
    return value
