"""What is around payloads in the messages that carried them, as Spark columns: the places of `dualpath.kafka`."""

from collections.abc import Iterable

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from dualpath import kafka
from dualpath.paths import MESSAGE, Steps, written
from dualpath.spark.payload import Parses

COLUMN = "message"
"""A struct: `key` binary, `headers` a list of (`key`, `value` binary), `topic`, `partition`, `offset`, `timestamp`."""
ISO = "yyyy-MM-dd'T'HH:mm:ss.SSS'Z'"


class Message:
    """The texts at some places around a payload, of rows with the column `COLUMN`."""

    def __init__(self, places: Iterable[Steps]) -> None:
        found = [*dict.fromkeys(places)]
        self.into_key = {place: rest for place in found if (rest := kafka.of_key(place))}
        # What has a path into the key needs the key.
        self.whole = [*dict.fromkeys(kafka.key if place in self.into_key else place for place in found)]
        self.key = Parses(self.into_key.values(), "__of_key")
        self.texts = {place: f"__around{n}" for n, place in enumerate([*self.whole, *self.into_key])}
        self.faults = {place: f"{name}_fault" for place, name in self.texts.items() if place[1] in ("key", "headers")}

    @property
    def names(self) -> list[str]:
        """The columns of `rows` beside those that were there."""
        return [*self.texts.values(), *self.faults.values()]

    def columns(self) -> list[Column]:
        """What `rows` needs: the texts, of which some may not be UTF-8, and the parsed key."""
        parsed = self.key.columns(F.try_validate_utf8(_found(kafka.key))) if self.into_key else []
        return [*(_found(place).alias(self._raw(place)) for place in self.whole), *parsed]

    def rows(self, rows: DataFrame) -> DataFrame:
        """Rows with the text of each place, null if there is none, or it is blank or cannot be read; and with why it
        cannot be read, or null.

        rows: with the columns of `columns`, which are left out.
        """
        done = {*self.key.names, *map(self._raw, self.whole)}
        texts = (self._text(place).alias(name) for place, name in self.texts.items())
        faults = (self._fault(place).alias(name) for place, name in self.faults.items())
        return rows.select(*(name for name in rows.columns if name not in done), *texts, *faults)

    def added(self, payload: Column, is_object: Column) -> Column:
        """A payload that is an object, with what is around it as its member `$kafka`; another one as it is."""
        if not self.texts:
            return payload
        texts, pieces = {place: F.col(self.texts[place]) for place in self.whole}, []
        if self.into_key:
            # An object is one there too, so that paths into it go on.
            key, no_object = texts[kafka.key], F.col(self.faults[next(iter(self.into_key))]).isNotNull()
            texts[kafka.key] = F.when(no_object, key)
            pieces = [F.when(~no_object, F.concat(F.lit('"key":'), key))]
        members = [text.alias(str(place[1])) for place, text in texts.items() if place[1] != "headers"]
        if headers := [text.alias(str(place[2])) for place, text in texts.items() if place[1] == "headers"]:
            members.append(F.struct(*headers).alias("headers"))
        found = F.to_json(F.struct(*members))
        pieces.append(F.nullif(F.substring(found, F.lit(2), F.length(found) - 2), F.lit("")))
        # The last member of a name counts.
        own = F.regexp_replace(payload, r"\s*\}\s*\z", "")
        comma = F.when(own.rlike(r"\A\s*\{\z"), F.lit("")).otherwise(F.lit(","))
        joined = F.concat(own, comma, F.lit(f'"{MESSAGE}":{{'), F.concat_ws(",", *pieces), F.lit("}}"))
        return F.when(is_object, joined).otherwise(payload)

    def _raw(self, place: Steps) -> str:
        return f"{self.texts[place]}_raw"

    def _text(self, place: Steps) -> Column:
        if rest := self.into_key.get(place):
            return unless_blank(self.key.text(rest))
        raw = F.col(self._raw(place))
        return unless_blank(F.try_validate_utf8(raw)) if place in self.faults else raw

    def _fault(self, place: Steps) -> Column:
        of = kafka.key if place in self.into_key else place
        raw, what = F.col(self._raw(of)), written(of)
        fault = F.when(~F.is_valid_utf8(raw), F.lit(f"{what} is not UTF-8"))
        if of == place:
            return fault
        no_object = F.col(self.key.names[0]).isNull() & unless_blank(raw).isNotNull()
        said = F.concat(F.lit(f"{what} is not a JSON object: "), F.substring(raw, 1, 80))
        return F.coalesce(fault, F.when(no_object, said))


def unless_blank(text: Column) -> Column:
    """A text around a payload; null if it is blank."""
    return F.when(F.trim(text) != "", text)


def last_header(headers: Column, name: str) -> Column:
    """The bytes of the last header of that name; null if there is none."""
    return F.try_element_at(F.filter(headers, lambda header: header["key"] == name), F.lit(-1))["value"]


def _found(place: Steps) -> Column:
    if place[1] == "headers":
        return last_header(F.col(f"{COLUMN}.headers"), str(place[2])).cast("string")
    if place == kafka.time:
        return F.date_format(f"{COLUMN}.timestamp", ISO)
    return F.col(f"{COLUMN}.{place[1]}").cast("string")
