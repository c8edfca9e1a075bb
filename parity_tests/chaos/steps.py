"""The steps before or after which a schedule may strike."""

from typing import Any

import batch.build
import batch.nightly
import batch.pack
import batch.publish
import streaming.handover
from dualpath.storage import Storage
from dualpath.stores import mark, pointer, rebuild
from streaming import sink
from streaming.remembered import Remembered
from streaming.sink import Sink

Steps = dict[str, tuple[Any, str]]

STREAM: Steps = {
    "the beginning": (Storage, "begin"),
    "the pass over the rows": (Sink, "write"),
    "the move of a file": (sink, "move"),
    "the note": (Storage, "note"),
    "serving": (Sink, "serve"),
    "a pointer": (pointer, "move"),
    "the records": (sink, "send_few"),
    "the records of the log": (sink, "send"),
    "the mark": (mark, "advance"),
    "the end": (Storage, "finish"),
    "a merge of ids": (Remembered, "_merged"),
    "the removal of ids": (Remembered, "_drop"),
    "the records of a rebuild": (rebuild, "send"),
    "a pointer of a rebuild": (pointer, "place"),
    "the retirement of what was rebuilt": (rebuild, "retire"),
}
"""Of a batch, and of the rebuild before it."""

NIGHT: Steps = {
    "the seal": (batch.nightly, "settle"),
    "the removal of small files": (batch.pack, "_remove_replaced"),
    "the place of packed ones": (batch.pack, "_place"),
    "the gate": (batch.nightly, "check"),
    "record files": (batch.build, "_publish"),
    "the snapshot": (batch.publish, "fill"),
    "a pointer": (batch.publish, "_move"),
    "the retirement": (batch.publish, "retire"),
}

HANDOVER: Steps = {
    "leaving off": (Storage, "leave_off"),
    "the rebuild": (streaming.handover, "rebuild"),
    "the generation": (streaming.handover, "begin_next"),
    "a pointer of a rebuild": (pointer, "place"),
}
