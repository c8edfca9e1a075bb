"""What a payload's text is to a field, as Spark columns: `dualpath.admission`, translated. Nothing here raises for any
text."""

from pyspark.sql import Column
from pyspark.sql import functions as F

from dualpath.admission import (
    BLANK,
    DIGITS,
    FALSE,
    FINEST,
    LARGEST,
    NOT_FINITE,
    NUMBER,
    PLAIN,
    TRUE,
    WHOLE,
    remedies,
)
from dualpath.field import Field
from dualpath.leniency import BLANKS
from dualpath.schema import DECIMAL_BOUND, NULL
from dualpath.spark import times
from dualpath.spark.times import entire
from dualpath.times import NUMBER as PRINTED

EXPONENT = r"[eE]([+-]?[0-9]+)\z"
MAYBE_FINER = rf"[eE]-|.{{{FINEST + 2}}}"
"""What is somewhere in a number with more than `FINEST` digits after the point: it is long, or has an exponent."""
WIDEST = f"decimal({LARGEST},{FINEST})"


def given(raw: Column, field: Field) -> Column:
    """The text that is judged; null is null."""
    text = F.btrim(raw, F.lit(BLANKS)) if field.leniency.lenient else raw
    return F.when(~raw.rlike(entire(BLANK)), text) if field.leniency.empty_is_null else text


def value(raw: Column, field: Field) -> Column:
    """A payload's text as a value of the field; of a text that `refusal` refuses, null or any value."""
    return _value(given(raw, field), field)


def refusal(raw: Column, typed: Column, field: Field) -> Column:
    """Why a row is refused for its text of the field, of which `typed` is the value; null if it is not."""
    text = given(raw, field)
    missing = F.when(F.coalesce(text, F.lit("")) == "", F.lit(f"{field} is missing"))
    if field.kind == "text" and not field.choices:
        return missing if field.required else F.lit(None).cast("string")
    # Only of a refused text is anything more computed.
    fault = F.concat(F.lit(f"{field} "), _fault(text, typed, field), F.lit(": "), F.substring(raw, 1, 80))
    refused = F.when(_refused(text, typed, field), F.concat(fault, _remedy(raw, field)))
    return F.coalesce(missing, refused) if field.required else refused


def _remedy(raw: Column, field: Field) -> Column:
    """The words that name the declaration that would take a text, after a blank."""
    found = []
    for other, words in remedies(field):
        if other.leniency.empty_is_null and not field.leniency.empty_is_null:
            takes = raw.rlike(entire(BLANK))  # of any other text nothing changes
        else:
            text = given(raw, other)
            takes = ~_refused(text, _value(text, other), other)
        found.append(F.when(takes, F.lit(words)))
    return F.coalesce(*found, F.lit(""))


def _value(text: Column, field: Field) -> Column:
    match field.kind:
        case "text":
            return text
        case "timestamp":
            return times.instant(text, field.time)
        case "decimal":
            return F.when(text.rlike(entire(NUMBER)), text.try_cast(f"decimal(18,{field.scale})"))
        case "double":
            return F.when(text.rlike(entire(NUMBER)), text.try_cast("double"))
        case "boolean":
            if not field.leniency.lenient:
                return F.when(text.isin("true", "false"), text == "true")
            return F.when(F.lower(text).isin(*TRUE, *FALSE), F.lower(text).isin(*TRUE))
    plain = F.when(text.rlike(entire(PLAIN[field.kind])), text.try_cast("bigint"))
    if not field.leniency.lenient:
        return plain
    number = F.when(text.rlike(entire(PRINTED)), text.try_cast(WIDEST))
    as_printed = F.when((number == F.floor(number)) & (F.abs(number) <= F.lit(WHOLE)), number.try_cast("bigint"))
    # What is plain and out of range is no other spelling either.
    return F.when(text.rlike(entire(PLAIN[field.kind])), plain).otherwise(as_printed)


def _refused(text: Column, typed: Column, field: Field) -> Column:
    """Whether a text is refused; never null."""
    fits = typed.isNotNull()
    match field.kind:
        case "text":
            fits = typed.isin(*field.choices) if field.choices else F.lit(True)
        case "integer":
            fits &= F.abs(typed) <= DECIMAL_BOUND
        case "identifier":
            fits &= typed != NULL
        case "double":
            fits &= ~typed.isin(float("inf"), float("-inf"))
        case "decimal":
            fits &= F.abs(typed) <= _bound(field)
            if not field.leniency.rounded:
                fits &= (text.try_cast(WIDEST) == typed) & ~(text.rlike(MAYBE_FINER) & (_decimals(text) > FINEST))
    return text.isNotNull() & ~F.coalesce(fits, F.lit(False))


def _fault(text: Column, typed: Column, field: Field) -> Column:
    """What is wrong with a text that is refused."""
    other = F.lit(f"is not of kind {field.kind}")
    not_finite = F.when(text.rlike(entire(NOT_FINITE)), F.lit("is not finite"))
    match field.kind:
        case "text":
            return F.lit("is not one of the declared choices")
        case "timestamp":
            return times.refusal(text, field.time)
        case "integer":
            return F.when(typed.isNotNull(), F.lit("is too large")).otherwise(other)
        case "identifier":
            outside = F.lit("is outside -(2^63 - 1) to 2^63 - 1; declare text")
            return F.when(text.rlike(entire(DIGITS)), outside).otherwise(other)
        case "double":
            return F.coalesce(not_finite, F.when(typed.isNotNull(), F.lit("is too large")), other)
        case "decimal":
            near = typed if field.leniency.rounded else text.try_cast(WIDEST)
            large = near.isNull() | (F.abs(near) > _bound(field))
            finer = F.lit(f"has more than {field.scale} decimals")
            number = F.when(large, F.lit("is too large")).otherwise(finer)
            return F.coalesce(not_finite, F.when(text.rlike(entire(NUMBER)), number), other)
    return other


def _bound(field: Field) -> Column:
    """A whole number, since a scale has at most nine digits; Spark's comparison with a wider decimal would round."""
    return F.lit(DECIMAL_BOUND // 10**field.scale)


def _decimals(text: Column) -> Column:
    """How many digits after the point a number is written with, without zeros at their end."""
    decimals = F.length(F.rtrim(F.regexp_extract(text, r"\.([0-9]*)", 1), F.lit("0")))
    return decimals - F.coalesce(F.regexp_extract(text, EXPONENT, 1).try_cast("int"), F.lit(0))
