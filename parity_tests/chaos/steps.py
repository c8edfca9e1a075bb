"""The steps before or after which a schedule may inject a fault."""

from typing import Any

import dualpath.jobs.build
import dualpath.jobs.handover
import dualpath.jobs.nightly
import dualpath.jobs.pack
import dualpath.jobs.publish
from dualpath.dedup.remembered import Remembered
from dualpath.jobs import rebuild, sink
from dualpath.jobs.sink import Sink
from dualpath.log.storage import Storage
from dualpath.online import high_water_mark, manifest

Steps = dict[str, tuple[Any, str]]

STREAM: Steps = {
    "the beginning": (Storage, "begin"),
    "the pass over the rows": (Sink, "write"),
    "the move of a file": (sink, "move"),
    "the note": (Storage, "note"),
    "serving": (Sink, "serve"),
    "a manifest": (manifest, "move"),
    "the records": (sink, "write_small_batch"),
    "the records of the log": (sink, "write"),
    "the high-water mark": (high_water_mark, "advance"),
    "the end": (Storage, "finish"),
    "a merge of ids": (Remembered, "_merged"),
    "the removal of ids": (Remembered, "_drop"),
    "the records of a rebuild": (rebuild, "write"),
    "a manifest of a rebuild": (manifest, "place"),
    "the expiry of what was rebuilt": (rebuild, "expire_superseded"),
}
"""Of a batch, and of the rebuild before it."""

NIGHT: Steps = {
    "the closing": (dualpath.jobs.nightly, "settle"),
    "the removal of small files": (dualpath.jobs.pack, "_remove_replaced"),
    "the place of packed ones": (dualpath.jobs.pack, "_place"),
    "the gate": (dualpath.jobs.nightly, "check"),
    "record files": (dualpath.jobs.build, "_publish"),
    "the snapshot": (dualpath.jobs.publish, "fill"),
    "a manifest": (dualpath.jobs.publish, "_move"),
    "the expiry": (dualpath.jobs.publish, "expire_superseded"),
}

HANDOVER: Steps = {
    "leaving off": (Storage, "leave_off"),
    "the rebuild": (dualpath.jobs.handover, "rebuild"),
    "the generation": (dualpath.jobs.handover, "begin_next"),
    "a manifest of a rebuild": (manifest, "place"),
}
