"""How a run is described to MLflow: params that compare, names it takes, no secrets."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from pathlib import Path

from diffsci import __version__

_LEFT_OUT = ("extends", "data.source", "runtime.dask")
_SECRET = re.compile(
    r"(^|[._-])(password|passwd|token|secret|api_?key|credentials?)$", re.IGNORECASE
)


def redact(text: str) -> str:
    """The text without the `user:password@` of any address in it."""
    return re.sub(r"(?<=://)[^/@\s'\"]+@", "***@", text)


def metric_name(name: str) -> str:
    """The nearest name MLflow takes: letters, digits, `_-. :/`, and no empty or dotted part."""
    parts = re.sub(r"[^\w\-. :/]", "_", name, flags=re.ASCII).split("/")
    return "/".join(part for part in parts if part.strip(". "))[:250] or "unnamed"


def flatten(values: Mapping[str, object], prefix: str = "") -> dict[str, str]:
    """Params as MLflow compares them: `model.network.channels` is `32,64`, and null is `none`.

    Left out are paths, addresses and the tracking section, which would make equal runs differ; what
    is named like a secret is masked.
    """
    flat: dict[str, str] = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{name}.")
            continue
        if isinstance(value, list | tuple):
            text = ",".join(str(item) for item in value)
        else:
            text = "none" if value is None else str(value)
        text = "***" if _SECRET.search(name) else text
        local = name.startswith("tracking.") or name in _LEFT_OUT
        if not (local or "/" in text or "\\" in text or text.startswith("~")):
            flat[metric_name(name)] = text if len(text) <= 6000 else text[:5990] + " [cut]"
    return flat


def code_tags() -> dict[str, str]:
    """What ran; MLflow finds the commit only for scripts inside the repository."""
    tags = {
        "diffsci.version": __version__,
        "mlflow.source.name": "diffsci run",
        "mlflow.source.type": "LOCAL",
    }
    root = Path(__file__).parents[2]
    if not (root / ".git").exists():
        return tags
    try:
        commit, state = (
            subprocess.run(
                ["git", "--no-optional-locks", "-C", str(root), *arguments],
                capture_output=True,
                text=True,
                timeout=5,
                check=True,
            ).stdout.strip()
            for arguments in (["rev-parse", "HEAD"], ["status", "--porcelain"])
        )
    except (OSError, subprocess.SubprocessError):
        return tags
    return tags | {"mlflow.source.git.commit": commit, "diffsci.dirty": str(bool(state)).lower()}


_PLAIN = (
    (r"[Cc]onnection refused", "nothing listens there: is the server running, and the port right?"),
    (r"[Tt]imed? ?out", "nothing came in time: it is slow, frozen or cut off"),
    (
        r"[Nn]ame or service not known|name resolution|nodename nor servname|getaddrinfo failed",
        "no machine of that name is known",
    ),
    (r"[Nn]etwork is unreachable|[Nn]o route to host", "its network cannot be reached from here"),
    (
        r"Remote end closed|Connection aborted|[Cc]onnection reset|IncompleteRead",
        "it broke off the connection",
    ),
    (r"CERTIFICATE_VERIFY_FAILED", "its certificate is not trusted here"),
    (
        r"error code 40[13]\b|[Uu]nauthorized|Forbidden",
        "it does not let us in: set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or "
        "MLFLOW_TRACKING_TOKEN",
    ),
    (r"error code 404", "it answers, but not as an MLflow server does (404)"),
    (r"(?:too many|error code) (5\d\d)\b", "it answers with an error of its own ({0})"),
)
"""What libraries say of a server, and what that means."""


def reason(error: Exception) -> str:
    """Why something failed, in one short line, without a password.

    What MLflow and its libraries say of a server is a page of their own names; people are told what
    it means.
    """
    text = redact(str(error)).strip()
    for pattern, words in _PLAIN:
        if found := re.search(pattern, text):
            return words.format(*found.groups())
    lines = text.splitlines() or [type(error).__name__]
    return lines[0][:300].rstrip(".;: ")
