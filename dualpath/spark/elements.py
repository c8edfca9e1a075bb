"""A payload of many events: a row for each element of its list, as Spark columns.

The elements are texts until they are rows, so that a broken one spoils no other.
"""

from collections.abc import Iterable

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from dualpath.paths import ELEMENTS, Steps, inside, written
from dualpath.spark.payload import Parses, at

COPIES = 2**24
"""How many characters all copies of a payload may have that the dead letters of its elements would hold."""
INDEX, ELEMENT, COUNT, NO_LIST, TEXTS = "__index", "__element", "__count", "__no_list", "__texts"


class Elements:
    """The parses of payloads of which every element of the list `each` is an event, and of the elements; the rest as
    `dualpath.spark.payload.Parses`, of rows that `rows` has made."""

    def __init__(self, places: Iterable[Steps], each: Steps) -> None:
        self.each, self.list = each, written(each)
        rests = {place: inside(place, each) for place in places}
        self.texts = {
            place: f"__of_payload{n}" for n, place in enumerate(p for p, rest in rests.items() if rest is None)
        }
        self.payload = Parses([*self.texts, (*each, 0)])
        self.element = Parses([rest for rest in rests.values() if rest], "__of_element")

    @property
    def names(self) -> list[str]:
        """The columns of rows beside those that were there."""
        beside = [*self.element.names, INDEX, ELEMENT, COUNT, NO_LIST, TEXTS]
        return [self.payload.names[0], *self.texts.values(), *beside]

    def columns(self, value: Column) -> list[Column]:
        """The parsed payload; one that is not UTF-8 has no elements, and is one dead letter."""
        whole = F.when(F.is_valid_utf8(value), value)
        return self.payload.columns(whole)

    def rows(self, payloads: DataFrame) -> DataFrame:
        """A row for each element, with its index from 0; one with null for a payload that has none.

        payloads: with `payload` and the columns of `columns`.
        """
        found = self.payload.elements(self.each)
        # Of a list nobody asks for its text; of anything else one more parse does.
        other = Parses([self.each], "__other")
        text = F.substring(at(other.columns(F.col("payload"))[0], self.each), 1, 80)
        no_list = F.coalesce(
            F.concat(F.lit(f"{self.list} is not a list: "), text),
            F.lit(f"{self.list} is missing, and an empty list is []; where=... skips payloads without it"),
        )
        too_many = F.concat(F.lit(f"{self.list} has more than {ELEMENTS:,} elements: "), F.size(found).cast("string"))
        # What is of the whole list is computed before it has a row for each element, which must not carry all of it.
        others = [name for name in payloads.columns if name not in self.payload.names]
        whole = payloads.select(
            *others,
            F.when(F.col(self.payload.names[0]).isNotNull(), F.lit(True)).alias(self.payload.names[0]),
            *(self.payload.text(place).alias(name) for place, name in self.texts.items()),
            F.size(found).alias(COUNT),
            F.when(found.isNull(), no_list).when(F.size(found) > ELEMENTS, too_many).alias(NO_LIST),
            F.sha2(F.to_json(found), 256).alias(TEXTS),
            F.when(F.size(found) <= ELEMENTS, found).alias("__list"),
        )
        beside = [name for name in whole.columns if name != "__list"]
        exploded = whole.select(*beside, F.posexplode_outer("__list").alias(INDEX, ELEMENT))
        return exploded.select("*", *self.element.columns(F.col(ELEMENT)))

    def text(self, place: Steps) -> Column:
        """The text at a place of the element or of the payload."""
        rest = inside(place, self.each)
        if rest is None:
            return F.col(self.texts[place])
        return self.element.text(rest) if rest else F.col(ELEMENT)

    def faults(self) -> list[Column]:
        """What can be wrong with the list or the element: each column is null or a reason."""
        there = F.col(INDEX).isNotNull()
        faults = [F.col(NO_LIST), F.when(there & F.col(ELEMENT).isNull(), F.lit(f"{self.list} has a null element"))]
        if self.element.names:
            said = F.concat(
                F.lit(f"{self.list} has an element that is not a JSON object: "), F.substring(ELEMENT, 1, 80)
            )
            faults.append(F.when(there & F.col(self.element.names[0]).isNull(), said))
        return faults

    def empty(self) -> Column:
        """Whether the list is there and has no element; never null."""
        return F.col(INDEX).isNull() & F.col(NO_LIST).isNull()

    def further(self) -> Column:
        """Whether the row is not the first of its payload; never null."""
        return F.coalesce(F.col(INDEX) > 0, F.lit(False))

    def id(self, of_payload: Column) -> Column:
        """The id of an element whose own is not declared: that of the payload, and its place."""
        return F.concat(of_payload, F.coalesce(F.concat(F.lit("/"), F.col(INDEX).cast("string")), F.lit("")))

    def said(self, reason: Column) -> Column:
        """A reason with the place of the element; null for null."""
        place = F.concat(F.lit(f": {self.list}["), F.col(INDEX).cast("string"), F.lit("]"))
        return F.concat(reason, F.coalesce(place, F.lit("")))

    def kept(self, payload: Column) -> Column:
        """What a dead letter holds: the whole payload, unless the copies of all its elements would fill the disk; then
        the element."""
        copies = F.col(COUNT).cast("bigint") * F.length("payload")
        return F.when(copies > COPIES, F.coalesce(F.col(ELEMENT), payload)).otherwise(payload)
