"""The completions API of OpenAI, as its servers speak it: requests, replies, and what goes wrong.

A server tells tokens by their text, in lists beside each other (`tokens`, `top_logprobs`), or each
as an object with an id (`content`), as llama.cpp does. Both are read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from typing import Any, TypeVar, final
from urllib.parse import urlsplit

import msgspec

from statespan.errors import EngineError, InputError

__all__ = ["Choice", "Client", "Entry", "Top"]

SHOWN = 200
CLIENT_ERROR, SERVER_ERROR = 400, 500

Reply = TypeVar("Reply")


class Top(msgspec.Struct, frozen=True):
    """A token that may come, with the logarithm of its probability."""

    token: str
    logprob: float
    id: int | None = None


class Entry(msgspec.Struct, frozen=True):
    """A token that was read or written, and the largest probabilities in its place."""

    token: str
    top_logprobs: list[Top] | None = None
    id: int | None = None


class _Logprobs(msgspec.Struct, frozen=True):
    tokens: list[str] | None = None
    top_logprobs: list[dict[str, float] | None] | None = None
    content: list[Entry] | None = None

    def entries(self) -> list[Entry] | None:
        """Return the tokens with what was probable in their place; None if that is not there."""
        if self.content is not None:
            return self.content
        if self.tokens is None or self.top_logprobs is None:
            return None
        if len(self.tokens) != len(self.top_logprobs):
            raise InputError(
                f"the server gave {len(self.tokens)} tokens with {len(self.top_logprobs)} "
                "top_logprobs."
            )
        pairs = zip(self.tokens, self.top_logprobs, strict=True)
        return [
            Entry(token, None if top is None else [Top(*pair) for pair in top.items()])
            for token, top in pairs
        ]


class Choice(msgspec.Struct, frozen=True):
    """What came of one prompt."""

    index: int = 0
    logprobs: _Logprobs | None = None
    finish_reason: str | None = None

    def entries(self) -> list[Entry]:
        """Return the tokens with what was probable in their place.

        Raises:
            EngineError: the server gives no logarithms of probabilities.
        """
        found = None if self.logprobs is None else self.logprobs.entries()
        if found is None:
            raise EngineError(
                "the server gave no logprobs, so its answers cannot be told: start it with "
                "logprobs on, or name another one."
            )
        return found


class _Completion(msgspec.Struct, frozen=True):
    choices: list[Choice]


class _Model(msgspec.Struct, frozen=True):
    id: str
    owned_by: str = ""


class _Models(msgspec.Struct, frozen=True):
    data: list[_Model]


@final
@dataclass(frozen=True, slots=True)
class Client:
    """Where a server is, and how long it may take for one answer, in seconds.

    Raises:
        InputError: the address is none of http or https.
    """

    url: str
    timeout: float = 60.0

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise InputError(f"url must be like http://host:port, got {self.url!r}.")
        if not self.timeout > 0:
            raise InputError(f"timeout must be above 0 seconds, got {self.timeout}.")

    def models(self) -> dict[str, str]:
        """Return the models that are served, each with what the server says whose it is."""
        return {model.id: model.owned_by for model in self._ask("models", None, _Models).data}

    def complete(
        self, model: str, prompts: Sequence[Sequence[int]], **settings: Any
    ) -> list[Choice]:
        """Return what comes of each prompt, in their order.

        Raises:
            EngineError: the server cannot be reached, or refuses.
            InputError: it broke, or its answer is not that of so many prompts.
        """
        body = {"model": model, "prompt": [list(prompt) for prompt in prompts], **settings}
        choices = self._ask("completions", body, _Completion).choices
        by_index = {choice.index: choice for choice in choices}
        if sorted(by_index) != list(range(len(prompts))) or len(choices) != len(prompts):
            found = [choice.index for choice in choices]
            raise InputError(f"the server gave choices {found} for {len(prompts)} prompts.")
        return [by_index[index] for index in range(len(prompts))]

    def _ask(self, path: str, body: Mapping[str, Any] | None, kind: type[Reply]) -> Reply:
        status, reason, content = self._exchange(path, body)
        if status >= CLIENT_ERROR:
            shown = content[:SHOWN].decode(errors="replace").strip()
            message = f"the server {self.url} answered {status} {reason}: {shown}"
            raise InputError(message) if status >= SERVER_ERROR else EngineError(message)
        try:
            return msgspec.json.decode(content, type=kind)
        except msgspec.DecodeError as error:
            raise InputError(f"the server {self.url} gave no {path}: {error}.") from error

    def _exchange(self, path: str, body: Mapping[str, Any] | None) -> tuple[int, str, bytes]:
        parts = urlsplit(self.url)
        connect = HTTPSConnection if parts.scheme == "https" else HTTPConnection
        connection = connect(parts.netloc.rpartition("@")[2], timeout=self.timeout)
        prefix = parts.path.rstrip("/").removesuffix("/v1")
        sent = None if body is None else msgspec.json.encode(body)
        headers = {"Content-Type": "application/json"}
        try:
            connection.request(
                "GET" if sent is None else "POST", f"{prefix}/v1/{path}", sent, headers
            )
            response: HTTPResponse = connection.getresponse()
            return response.status, response.reason, response.read()
        except TimeoutError as error:
            raise EngineError(
                f"the server {self.url} did not answer within {self.timeout:g} seconds."
            ) from error
        except (OSError, HTTPException) as error:
            raise EngineError(f"no server answers at {self.url}: {error}.") from error
        finally:
            connection.close()
