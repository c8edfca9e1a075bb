"""Which payloads name a person: read at the declared places where they can be, else by the text of the key alone.

A payload that says at a declared place whose it is, is that person's or not. One that does not, because it is broken or
of something else, or has the key where nobody has declared it, is taken for the person's if the key's text stands in
it as a word: what was refused is never kept because it could not be read.
"""

import base64
import binascii
import json
import re
from collections.abc import Iterator, Mapping
from enum import Enum
from functools import partial
from typing import Any

from dualpath import admission, paths
from dualpath.erasure.keys import Keys, fields
from dualpath.schema import EventSource


class Match(Enum):
    """Whether a payload is to be removed: it names the person, or only has the text of the key; or nobody can tell,
    since it is bytes that no decoder has read."""

    NO = "no"
    NAMED = "named"
    BY_TEXT = "by text"
    UNREADABLE = "unreadable"

    @property
    def is_removed(self) -> bool:
        """Whether the payload is taken for the person's."""
        return self in (Match.NAMED, Match.BY_TEXT)


class Payloads:
    """Recognises the payloads of a source that name one of some keys."""

    def __init__(self, source: EventSource, keys: Keys) -> None:
        wanted = fields(source, keys)
        self.source = source
        # What is looked up is in no payload.
        self.fields = {f: values for f, values in wanted.items() if f in source.payload_fields}
        texts = sorted({str(value) for values in keys.values() for value in values})
        words = "|".join(map(re.escape, texts))
        escaped = "|".join(re.escape(json.dumps(text)[1:-1]) for text in texts)
        self.word = re.compile(rf"(?<!\w)(?:{words})(?!\w)|(?<!\w)(?i:{escaped})(?!\w)")
        self.texts = [text.encode() for text in texts]
        # JSON may write any letter with a backslash, and a number with an exponent.
        numbers = any(f.kind != "text" for f in wanted)
        hints = [*map(re.escape, self.texts), rb"\\", *([rb"\d\.?[eE]"] if numbers else [])]
        self.hint = re.compile(b"|".join(hints))

    def match(self, payload: bytes | None) -> Match:
        """Whether a payload names one of the keys."""
        if payload is None:
            return Match.NO
        if self.source.decoder is None and not self.hint.search(payload):
            return Match.NO
        text = payload.decode(errors="replace")
        try:
            parsed = json.loads(text, parse_float=str)
        except (ValueError, RecursionError):
            return self._opaque(text)
        said = [self._named(parsed, element) for element in self._elements(parsed)]
        if True in said:
            return Match.NAMED
        if said and None not in said:
            return Match.NO
        spelled = json.dumps(parsed, ensure_ascii=False)
        return Match.BY_TEXT if self.word.search(text) or self.word.search(spelled) else Match.NO

    def _elements(self, payload: Any) -> Iterator[Any]:
        if not self.source.each:
            yield None
            return
        found = paths.walk(payload, self.source.each) if isinstance(payload, Mapping) else None
        yield from found if isinstance(found, list) else [None]

    def _named(self, payload: Any, element: Any) -> bool | None:
        """Whether an event of a payload names one of the keys at any place; None: it says at no place who it is."""
        if not isinstance(payload, Mapping):
            return None
        told: bool | None = None
        for field, values in self.fields.items():
            for place in field.places:
                found = partial(paths.value, payload, each=self.source.each, element=element)(place)
                value = admission.value(admission.written(found), field)
                if value in values and value is not None:
                    return True
                told = False if value is not None else told
        return told

    def _opaque(self, text: str) -> Match:
        """Of what is no JSON: a decoder that has refused a message left the base64 of its bytes."""
        if self.word.search(text):
            return Match.BY_TEXT
        if self.source.decoder is None:
            return Match.NO
        try:
            content = base64.b64decode(text, validate=True)
        except binascii.Error:
            return Match.NO
        return Match.BY_TEXT if any(each in content for each in self.texts) else Match.UNREADABLE
