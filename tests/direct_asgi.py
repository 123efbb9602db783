"""An application for contact tests: it answers through `Flow.write`, past the server's own way."""

from __future__ import annotations

import json
from typing import Any

from progress.outbox import wire
from progress.servers import Flow, FlowControl

CHUNK = "x" * 8000
MANY = 20_000  # chunks, 160 MB; a kernel may take 40 for a reader on the same machine


async def answer(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Does what each message asks for."""
    flow: Flow = scope["progress.flow"]
    await receive()
    await send({"type": "websocket.accept"})
    while (event := await receive())["type"] == "websocket.receive":
        task, _, text = event["text"].partition(":")
        if task == "as long as":
            assert flow.direct
            flow.write(wire("é" + "x" * (int(text) - 1)))
        elif task == "in turn":
            for number in range(int(text)):
                message = json.dumps([number, CHUNK])
                if number % 2 or not flow.write(wire(message)):
                    await send({"type": "websocket.send", "text": message})
        elif task == "flood":
            written = 0
            while flow.direct and written < MANY:
                flow.write(wire(CHUNK))
                written += 1
            await flow.ready()
            if not flow.write(wire(f"wrote {written}")):
                await send({"type": "websocket.send", "text": f"wrote {written}"})
        elif task == "close":
            await send({"type": "websocket.close", "code": 4000})
            flow.write(wire("too late"))


application = FlowControl(answer)
