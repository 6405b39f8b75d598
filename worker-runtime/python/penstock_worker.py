# SPDX-License-Identifier: Apache-2.0
"""Runs a Penstock handler written in Python (CPython >= 3.10, standard library only).

A unit starts this file as its child and speaks with it over descriptors 3 (asks) and 4 (answers); standard output and
standard error both are the unit's standard error, so a handler may print what it likes. The handler is `module:Class`:

    class Model:
        batch_size = 8                      # optional, default 1; spec.worker.batchSize wins
        def load(self, context): ...        # optional, once, before the first request
        def predict(self, batch): ...       # one result per request, in the same order
        def health(self): ...               # optional, raises when this instance must not go on

A request has `id`, `body` (bytes), `content_type`, `text()`, `json()` and `cancelled` (a threading.Event). A result is bytes
(application/octet-stream), str (text/plain), a `Result(body, content_type)`, anything that json.dumps takes
(application/json), or an exception for this request alone. `from penstock_worker import InputError, Result` works, and any
exception whose class is called InputError says that the input is bad and must not be tried again.
"""

from __future__ import annotations

import asyncio
import importlib
import inspect
import json
import os
import queue
import struct
import sys
import threading
import traceback
from typing import Any, BinaryIO

ASKS_FD = 3
ANSWERS_FD = 4
# The same bounds as in hosts/frames.ts.
HEAD_LIMIT = 4 * 1024 * 1024
PART_LIMIT = 1024 * 1024 * 1024
PARTS_LIMIT = 256

OCTETS = "application/octet-stream"
TEXT = "text/plain; charset=utf-8"
JSON_TYPE = "application/json"


class InputError(Exception):
    """Bad input: ends the request at once, whatever its retry budget."""


class Result:
    """A result with a content type of its own."""

    def __init__(self, body: bytes | str, content_type: str) -> None:
        # bytes(5) would be five zero bytes.
        if not isinstance(body, (str, bytes, bytearray, memoryview)):
            raise TypeError(f"the body of a Result must be bytes or str, not {type(body).__name__}")
        self.body = body.encode() if isinstance(body, str) else bytes(body)
        self.content_type = checked_type(content_type)


def checked_type(content_type: Any) -> str:
    if not isinstance(content_type, str):
        raise TypeError(f"the content_type of a Result must be str, not {type(content_type).__name__}")
    return content_type


class Context:
    """What load() is told."""

    def __init__(self, ask: dict[str, Any]) -> None:
        self.instance: int = ask["instance"]
        self.unit: str = ask["unit"]
        self.app: str = ask["app"]


class Request:
    """One request as predict() sees it."""

    def __init__(self, item: dict[str, Any], body: bytes) -> None:
        self.id: str = item["id"]
        self.content_type: str = item["contentType"]
        self.body = body
        self.cancelled = threading.Event()

    def text(self) -> str:
        return self.body.decode("utf-8", "replace")

    def json(self) -> Any:
        try:
            return json.loads(self.body)
        except ValueError as err:
            raise InputError(f"the body is not JSON: {err}") from err


class Worker:
    """Answers asks one after another in the main thread, where signal handlers and GPU libraries expect to be used."""

    def __init__(self, answers: BinaryIO) -> None:
        self._answers = answers
        self._handler: Any = None
        self.running: dict[str, Request] = {}
        # One loop for the life of the process: what load() opens in it (sessions, engines) stays usable in predict().
        self._loop = asyncio.new_event_loop()
        asyncio.set_event_loop(self._loop)

    def serve(self, asks: "queue.SimpleQueue[tuple[dict[str, Any], list[bytes]]]") -> None:
        while True:
            ask, parts = asks.get()
            try:
                head, results = self._answer(ask, parts)
            except Exception as err:  # user code may raise anything; SystemExit and the like end the process
                error = error_of(err)
                if error["kind"] == "handler":
                    traceback.print_exc()
                head, results = {"ok": False, "error": error}, []
            write_frame(self._answers, {"re": ask["id"], **head}, results)

    def _answer(self, ask: dict[str, Any], parts: list[bytes]) -> tuple[dict[str, Any], list[bytes]]:
        if ask["op"] == "load":
            return self._load(ask), []
        if ask["op"] == "health":
            if hasattr(self._handler, "health"):
                self._settle(self._handler.health())
            return {"ok": True}, []
        return self._predict(ask, parts)

    def _load(self, ask: dict[str, Any]) -> dict[str, Any]:
        module_name, class_name = ask["handler"].split(":")
        sys.path.insert(0, os.getcwd())
        handler_class = getattr(importlib.import_module(module_name), class_name)
        if not callable(getattr(handler_class, "predict", None)):
            raise TypeError(f"{ask['handler']} has no method predict")
        self._handler = handler_class()
        if hasattr(self._handler, "load"):
            self._settle(call_with_context(self._handler.load, Context(ask)))
        batch_size = getattr(self._handler, "batch_size", None)
        if batch_size is None:
            return {"ok": True}
        if not isinstance(batch_size, int) or batch_size < 1:
            raise ValueError("batch_size must be a whole number of at least 1")
        return {"ok": True, "batchSize": batch_size}

    def _predict(self, ask: dict[str, Any], parts: list[bytes]) -> tuple[dict[str, Any], list[bytes]]:
        batch = [Request(item, body) for item, body in zip(ask["items"], parts)]
        self.running = {request.id: request for request in batch}
        try:
            results = self._settle(self._handler.predict(batch))
            if not isinstance(results, (list, tuple)) or len(results) != len(batch):
                raise TypeError(f"predict must return a list of {len(batch)} results, one for each request")
            encoded = [encode(result) for result in self._settle_each(results)]
        finally:
            self.running = {}
        return {"ok": True, "answers": [answer for answer, _ in encoded]}, [body for _, body in encoded]

    def _settle(self, value: Any) -> Any:
        """Handlers may be async."""
        return self._loop.run_until_complete(settled(value)) if inspect.isawaitable(value) else value

    def _settle_each(self, results: Any) -> list[Any]:
        """An awaitable in the list that raises fails its own request only."""
        if not any(inspect.isawaitable(result) for result in results):
            return list(results)
        return self._loop.run_until_complete(all_settled(results))


def call_with_context(load: Any, context: Context) -> Any:
    """load() may leave the context out."""
    return load(context) if inspect.signature(load).parameters else load()


async def settled(value: Any) -> Any:
    return await value if inspect.isawaitable(value) else value


async def all_settled(values: Any) -> list[Any]:
    return await asyncio.gather(*(settled(value) for value in values), return_exceptions=True)


def encode(result: Any) -> tuple[dict[str, Any], bytes]:
    """A result that cannot be written fails its own request, not its batch."""
    if isinstance(result, BaseException):
        return {"error": error_of(result)}, b""
    try:
        return encode_value(result)
    except Exception as err:  # lone surrogates, cycles, depth, and whatever a value's own methods raise
        return {"error": error_of(err)}, b""


def encode_value(result: Any) -> tuple[dict[str, Any], bytes]:
    if isinstance(result, (bytes, bytearray, memoryview)):
        return {"contentType": OCTETS}, bytes(result)
    if isinstance(result, str):
        return {"contentType": TEXT}, result.encode()
    if isinstance(result, Result):
        return {"contentType": checked_type(result.content_type)}, bytes(result.body)
    # NaN and Infinity are not JSON (RFC 8259 §6).
    return {"contentType": JSON_TYPE}, json.dumps(result, allow_nan=False, ensure_ascii=False).encode()


def error_of(err: BaseException) -> dict[str, str]:
    name = type(err).__name__
    if name == "InputError":
        return {"kind": "input", "message": str(err)}
    return {"kind": "handler", "message": f"{name}: {err}"}


def read_exactly(pipe: BinaryIO, count: int) -> bytes:
    data = pipe.read(count)
    if len(data) < count:
        raise EOFError
    return data


def read_frame(pipe: BinaryIO) -> tuple[dict[str, Any], list[bytes]]:
    head_size, count = struct.unpack(">II", read_exactly(pipe, 8))
    if head_size > HEAD_LIMIT or count > PARTS_LIMIT:
        raise EOFError("not a message")
    head = json.loads(read_exactly(pipe, head_size))
    parts = []
    for _ in range(count):
        (size,) = struct.unpack(">I", read_exactly(pipe, 4))
        if size > PART_LIMIT:
            raise EOFError("not a message")
        parts.append(read_exactly(pipe, size))
    return head, parts


def write_frame(pipe: BinaryIO, head: dict[str, Any], parts: list[bytes]) -> None:
    encoded = json.dumps(head).encode()
    pipe.write(struct.pack(">II", len(encoded), len(parts)) + encoded)
    for part in parts:
        pipe.write(struct.pack(">I", len(part)))
        pipe.write(part)
    pipe.flush()


def read_asks(pipe: BinaryIO, worker: Worker, asks: "queue.SimpleQueue[Any]") -> None:
    """A thread of its own: hears a cancel while predict runs, and the end of the parent whatever runs."""
    try:
        while True:
            head, parts = read_frame(pipe)
            if head["op"] != "abort":
                asks.put((head, parts))
            elif (request := worker.running.get(head["item"])) is not None:
                request.cancelled.set()
    except (EOFError, OSError, ValueError):
        # The unit is gone. No clean-up: the main thread may be anywhere in user code.
        os._exit(0)


def main() -> None:
    # The handler's `import penstock_worker` must find this module, not load a second copy of it.
    sys.modules["penstock_worker"] = sys.modules["__main__"]
    for fd in (ASKS_FD, ANSWERS_FD):
        os.set_inheritable(fd, False)
        os.set_blocking(fd, True)
    asks_pipe = os.fdopen(ASKS_FD, "rb")
    worker = Worker(os.fdopen(ANSWERS_FD, "wb"))
    asks: "queue.SimpleQueue[Any]" = queue.SimpleQueue()
    threading.Thread(target=read_asks, args=(asks_pipe, worker, asks), daemon=True).start()
    worker.serve(asks)


if __name__ == "__main__":
    main()
