"""What rows have at the declared places of a source, as Spark columns: in the payload, an element of its list, or
around it."""

from collections.abc import Sequence
from itertools import chain

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from dualpath import kafka
from dualpath.expression import columns
from dualpath.field import Field
from dualpath.paths import MESSAGE, Steps
from dualpath.schema import EventSource
from dualpath.spark import fields
from dualpath.spark.elements import Elements
from dualpath.spark.message import Message, unless_blank
from dualpath.spark.payload import Parses


class Places:
    """Reads all places that a source declares, of rows that have messages (`dualpath.spark.message.COLUMN`) or not.

    Of a row without a message, what is around its payload is the payload's member `$kafka`.
    """

    def __init__(self, source: EventSource, *, messages: bool) -> None:
        read = (*source.payload_fields, *source.members.values())
        found = dict.fromkeys(chain.from_iterable(each.places for each in read))
        around = [*filter(kafka.is_around, found)]
        # A payload of which nothing is read must be an object all the same.
        within = [place for place in found if not (messages and place in around)] or [(MESSAGE,)]
        self.payload = Elements(within, source.each) if source.each else Parses(within)
        self.message = Message(around if messages else ())
        self.members = {} if messages else {place: f"__member{n}" for n, place in enumerate(around)}
        self.around = self.message.texts | self.members

    @property
    def names(self) -> list[str]:
        """The columns of `rows` beside those that were there."""
        return [*self.payload.names, *self.message.names, *self.members.values()]

    def columns(self, value: Column) -> list[Column]:
        """The parsed payload, and what is around it."""
        return [*self.payload.columns(value), *self.message.columns()]

    def rows(self, payloads: DataFrame) -> DataFrame:
        """A row for each payload, or for each element of its list, of which the other columns are.

        payloads: with `payload` and the columns of `columns`.
        """
        rows = self.message.rows(payloads)
        if isinstance(self.payload, Elements):
            rows = self.payload.rows(rows)
        members = (unless_blank(self.payload.text(place)).alias(name) for place, name in self.members.items())
        return rows.select("*", *members)

    def text(self, places: Sequence[Steps]) -> Column:
        """The text at the first of some places that has one; null where none has, as `dualpath.paths.first_value`
        says."""
        found = [self._at(place) for place in places]
        return F.coalesce(*found) if len(found) > 1 else found[0]

    def unreadable(self, field: Field) -> list[Column]:
        """What is wrong with a field of which there is no text: each column is null or a reason."""
        faults = [self.message.faults[place] for place in field.places if place in self.message.faults]
        none = self.text(field.places).isNull()
        return [F.when(none, F.concat(F.lit(f"{field.name}: "), F.col(fault))) for fault in faults]

    def refusal(self, field: Field) -> Column:
        """Why a row is refused for a field, of which there is the column of its value; null if it is not."""
        refusal = fields.refusal(self.text(field.places), F.col(field.column), field)
        return F.coalesce(*self.unreadable(field), refusal)

    def tell_apart(self, source: EventSource) -> bool:
        """Whether the condition of a source reads nothing but what is around payloads."""
        if source.where is None:
            return False
        read = chain.from_iterable(source.by_name[name].places for name in columns(source.where))
        return all(place in self.message.texts for place in read)

    def kept(self) -> Column:
        """What a dead letter holds: the payload, with what was read around it as a row without a message has it."""
        whole = self.message.added(F.col("payload"), F.col(self.payload.names[0]).isNotNull())
        return self.payload.kept(whole) if isinstance(self.payload, Elements) else whole

    def _at(self, place: Steps) -> Column:
        return F.col(self.around[place]) if place in self.around else self.payload.text(place)
