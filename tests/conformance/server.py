"""A small server of the completions API on loopback, which can be told to misbehave.

It reads prompts in pieces, keeps what it has read for prompts that begin alike, and answers a batch
of prompts row by row. Each fault is a way in which an engine loses or mixes what it remembers, or
in which a server answers something else than it was asked.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from random import Random
from threading import Lock, Thread
from typing import Any, Literal, TypeAlias, get_args

import torch
from torch import Tensor

from statespan.compiler.folder import load_model
from statespan.conformance.checkpoint import Checkpoint
from statespan.conformance.engines.transformers import TransformersRunner
from statespan.conformance.protocol import Padding, Session, Tokens
from statespan.training import EOS

PIECE = 16
"""Tokens that are read at once."""
KEPT = 1_000
"""Prompts whose state is kept."""

StateFault: TypeAlias = Literal[
    "drops the state between pieces",
    "drops the state before it writes",
    "keeps a state past its prompt",
    "mixes the rows of a batch",
    "takes any prefix of that length",
    "reads the padding",
    "reads one prompt after the other",
    "shifts positions after a piece",
    "reads the last tokens only",
    "answers for the token before",
    "reads each piece twice",
    "writes from all tokens",
    "writes the least likely",
    "writes on after the end",
    "shares one state among threads",
]
ReplyFault: TypeAlias = Literal[
    "takes too long",
    "gives no logprobs",
    "gives no echo",
    "gives chat logprobs",
    "gives few logprobs",
    "gives ids as text",
    "gives back half the prompt",
    "gives back another prompt",
    "gives one choice",
    "gives choices backwards",
    "gives no place",
    "names unknown tokens",
    "names impossible ids",
    "breaks",
    "refuses",
    "says nonsense",
    "hangs up",
]
STATE_FAULTS: tuple[StateFault, ...] = get_args(StateFault)
REPLY_FAULTS: tuple[ReplyFault, ...] = get_args(ReplyFault)


class Server:
    """Serves a checkpoint from a free port of loopback, within a `with` block."""

    def __init__(
        self, checkpoint: Checkpoint, fault: StateFault | ReplyFault | None = None
    ) -> None:
        self.checkpoint, self.fault = checkpoint, fault
        self.reader = Reader(checkpoint.folder, fault)
        self.requests = 0
        self._lock = Lock()
        server = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
                pass

            def do_GET(self) -> None:
                name = f"somewhere/{checkpoint.name}"
                models = [{"id": name, "object": "model", "owned_by": "loopback"}]
                known = self.path == "/v1/models"
                self.answer(200 if known else 404, {"object": "list", "data": models})

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                if self.path != "/v1/completions":
                    self.answer(404, {"error": "there is no such thing"})
                    return
                with suppress(BrokenPipeError, ConnectionResetError):
                    server.reply(self, body)

            def answer(self, status: int, content: Any) -> None:
                sent = content if isinstance(content, bytes) else json.dumps(content).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(sent)))
                self.end_headers()
                self.wfile.write(sent)

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = False  # so that none is left behind
        self._thread = Thread(target=self._http.serve_forever, args=(0.01,), daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._http.server_port}"

    def __enter__(self) -> Server:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    def reply(self, handler: Any, body: dict[str, Any]) -> None:
        """Answer a request, after the first in the way of the fault if that is one of replies."""
        with self._lock:
            self.requests += 1
        match self.fault:
            case "takes too long":
                time.sleep(1)
            case "hangs up":
                handler.connection.close()
                return
            case "breaks":
                handler.answer(500, {"error": "out of memory"})
                return
            case "refuses":
                handler.answer(400, {"error": "logprobs must be at most 1"})
                return
            case "says nonsense":
                handler.answer(200, b"<html>it works</html>")
                return
        handler.answer(200, {"object": "text_completion", "choices": self._choices(body)})

    def _choices(self, body: dict[str, Any]) -> list[dict[str, Any]]:
        rows = [tuple(row) for row in body["prompt"]]
        with self._lock if self.fault != "shares one state among threads" else Lock():
            written = self.reader.write(
                rows,
                steps=body["max_tokens"],
                rng=Random(body.get("seed", 0)) if body["temperature"] else None,
                whole=bool(body.get("echo")),
            )
        choices = [
            {"index": index, "text": "", **self._choice(row, *written[index], body)}
            for index, row in enumerate(rows)
        ]
        if self.fault == "gives one choice":
            return choices[:1]
        return choices[::-1] if self.fault == "gives choices backwards" else choices

    def _choice(
        self, row: Tokens, logits: Tensor, tokens: Tokens, body: dict[str, Any]
    ) -> dict[str, Any]:
        reason = "stop" if tokens[-1] == EOS else "length"
        shown = tokens[:-1] if tokens[-1] == EOS and len(tokens) > 1 else tokens
        tops: list[Tensor | None] = list(logits[len(logits) - len(tokens) :][: len(shown)])
        if body.get("echo") and self.fault != "gives no echo":
            tops = [None, *logits[: len(row)]]
            shown = (*self._echo(row), shown[0])
            tops = tops[len(tops) - len(shown) :]
        return {"finish_reason": reason, "logprobs": self._logprobs(shown, tops, body["logprobs"])}

    def _echo(self, row: Tokens) -> Tokens:
        if self.fault == "gives back half the prompt" and len(row) > 1:
            return row[len(row) // 2 :]
        another = self.fault == "gives back another prompt" and len(row) > 1
        return row[::-1] if another else row

    def _logprobs(self, tokens: Tokens, tops: list[Tensor | None], number: int) -> Any:
        if self.fault == "gives no logprobs":
            return None
        if self.fault == "gives few logprobs":
            number = 1
        found = [None if top is None else self._top(top, number) for top in tops]
        if self.fault == "gives no place" and len(found) > 2:
            found[-1] = None
        if self.fault == "gives chat logprobs":
            return {"content": [self._entry(*pair) for pair in zip(tokens, found, strict=True)]}
        tables = [top and {self._name(token): value for token, value in top} for top in found]
        return {
            "tokens": [self._name(token) for token in tokens],
            "token_logprobs": [None] * len(tokens),
            "top_logprobs": tables,
        }

    def _top(self, logits: Tensor, number: int) -> list[tuple[int, float]]:
        values, tokens = logits.float().log_softmax(dim=-1).topk(number)
        return list(zip(tokens.tolist(), values.tolist(), strict=True))

    def _entry(self, token: int, top: list[tuple[int, float]] | None) -> dict[str, Any]:
        named = [{"token": "", "id": other, "logprob": value} for other, value in top or []]
        return {"token": "", "id": token, "logprob": 0.0, "top_logprobs": top and named}

    def _name(self, token: int) -> str:
        if self.fault == "names unknown tokens":
            return f"\N{REPLACEMENT CHARACTER}{token}"
        if self.fault == "names impossible ids":
            return f"token_id:{1000 + token}"
        return f"token_id:{token}" if self.fault == "gives ids as text" else self._symbol(token)

    def _symbol(self, token: int) -> str:
        return self.checkpoint.symbols[token]


class Reader:
    """Reads prompts with a model, and writes after them."""

    def __init__(self, folder: Path, fault: StateFault | ReplyFault | None) -> None:
        self.fault = fault
        self.runner = TransformersRunner(load_model(folder))
        self.kept: dict[Tokens, tuple[Session, Tensor]] = {}
        self.shared: Session | None = None
        self.one_at_a_time = Lock()
        if fault == "shifts positions after a piece":
            forward = self.runner.forward

            def shifted(ids: Tensor, **arguments: Any) -> Any:
                places = arguments.get("position_ids")
                if places is not None and int(places.min()) > 0:
                    arguments["position_ids"] = places + 1
                return forward(ids, **arguments)

            self.runner.forward = shifted  # type: ignore[method-assign]

    def write(
        self, rows: Sequence[Tokens], *, steps: int, rng: Random | None, whole: bool
    ) -> list[tuple[Tensor, Tokens]]:
        """Return for each row the logits, of all its tokens or the last, and what is written."""
        if self.fault == "reads the padding":
            masked = Padding("left", masked=False)
            batch = [scores.values for scores in self.runner.score(rows, padding=masked)]
        if self.fault == "reads one prompt after the other":
            joined = self.runner.start(1)
            batch = [self._feed(joined, row) for row in rows]
        found = []
        for number, row in enumerate(rows):
            session, logits = self._read(row, whole=whole)
            if self.fault in {"reads the padding", "reads one prompt after the other"}:
                logits = batch[number]
            if self.fault == "mixes the rows of a batch" and number:
                session, other = self._read(rows[number - 1], whole=whole)
                logits = torch.cat((logits[:-1], other[-1:]))
            found.append(self._go_on(session, logits, row, steps, rng))
        return found

    def _read(self, row: Tokens, *, whole: bool) -> tuple[Session, Tensor]:
        """Return what is kept after a prompt, and the logits of all of it, or of the end."""
        if self.fault == "reads the last tokens only":
            row, left = row[-PIECE:], len(row[:-PIECE])
        else:
            left = 0
        begin = 0 if whole else self._longest(row)
        session = self._kept(row, begin)
        logits = [torch.zeros(left, len(self._vocabulary()))]
        if begin:
            logits.append(self.kept[self._key(row, begin)][1])
        for start in range(begin, len(row), PIECE):
            if self.fault == "drops the state between pieces" and start:
                session = self.runner.start(1)
            if self.shared is not None:
                session = self.shared
            piece = row[start : start + PIECE]
            logits.append(self._feed(session, piece))
            if self.fault == "reads each piece twice" and start + PIECE < len(row):
                self._feed(session, piece)
        joined = torch.cat(logits)
        kept = session if self.fault == "keeps a state past its prompt" else session.copy()
        self.kept[row] = (kept, joined[-1:])
        while len(self.kept) > KEPT:
            self.kept.pop(next(iter(self.kept)))
        return session, joined

    def _vocabulary(self) -> range:
        return range(int(self.runner.model.config.vocab_size))

    def _feed(self, session: Session, piece: Tokens) -> Tensor:
        with self.one_at_a_time:
            return session.feed([piece])[0].values

    def _longest(self, row: Tokens) -> int:
        """Return how many of the first tokens have been read before."""
        ends = range(len(row), 0, -1)
        return next((end for end in ends if self._key(row, end) in self.kept), 0)

    def _key(self, row: Tokens, end: int) -> Tokens:
        if self.fault == "takes any prefix of that length":
            return next((key for key in self.kept if len(key) == end), row[:end])
        return row[:end]

    def _kept(self, row: Tokens, begin: int) -> Session:
        if self.fault == "shares one state among threads":
            return self._share(self.kept[row[:begin]][0].copy() if begin else self.runner.start(1))
        if not begin:
            return self.runner.start(1)
        kept = self.kept[self._key(row, begin)][0]
        return kept if self.fault == "keeps a state past its prompt" else kept.copy()

    def _share(self, session: Session) -> Session:
        """Put a session in everybody's place, and wait a moment for another to do so."""
        self.shared = session
        end = time.monotonic() + 0.05
        while self.shared is session and time.monotonic() < end:
            time.sleep(0.001)
        return self.shared

    def _go_on(
        self, session: Session, logits: Tensor, row: Tokens, steps: int, rng: Random | None
    ) -> tuple[Tensor, Tokens]:
        """Write up to so many tokens; return all logits that a token came of, and the tokens."""
        if self.fault == "answers for the token before" and len(logits) > 1:
            logits = torch.cat((logits[:1], logits[:-1]))
        if self.fault == "drops the state before it writes":
            session = self.runner.start(1)
        tokens: list[int] = []
        while len(tokens) < steps:
            tokens.append(self._pick(logits[-1], rng))
            if len(tokens) == steps or (
                tokens[-1] == EOS and self.fault != "writes on after the end"
            ):
                break
            logits = torch.cat((logits, self._feed(session, (tokens[-1],))))
        if self.fault == "writes on after the end":
            tokens = [token if token != EOS else 3 for token in tokens]
        return logits, tuple(tokens)

    def _pick(self, logits: Tensor, rng: Random | None) -> int:
        if self.fault == "writes the least likely" and rng is None:
            return int(logits.argmin())
        if rng is None:
            return int(logits.argmax())
        heat = 1_000 if self.fault == "writes from all tokens" else 1
        weights = (logits.float() / heat).softmax(dim=-1).tolist()
        return rng.choices(self._vocabulary(), weights)[0]
