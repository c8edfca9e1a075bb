"""SQL expressions over one event: parsed once and checked against the schema.
`dualpath.spelling` writes them in the SQL of each engine.

The grammar is the part of SQL on which engines agree bit for bit: columns, literals, comparison, AND, OR, NOT, IN,
BETWEEN, IS NULL, LIKE, exact `+ - *`, CASE, COALESCE, LOWER and UPPER. It leaves out division and functions of floating
point, because engines round them differently.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import sqlglot
from sqlglot import exp
from sqlglot.dialects import Spark

from dualpath.errors import DeclarationError
from dualpath.field import Field
from dualpath.kinds import REALS
from dualpath.schema import IDENTIFIER_BOUND

EVENT_COLUMNS = {
    "event_time": Field("event_time", "timestamp"),
    "arrival_time": Field("arrival_time", "timestamp"),
}
_COMPARISONS = (exp.EQ, exp.NEQ, exp.LT, exp.LTE, exp.GT, exp.GTE)
QUOTED = re.compile(r"'(?:[^'\\]|\\.|'')*'")
OTHERS = frozenset(Spark.Tokenizer.KEYWORDS).difference(
    *(["AND", "OR", "NOT", "IN", "BETWEEN", "IS", "NULL", "LIKE"], ["TRUE", "FALSE"]),
    *(["CASE", "WHEN", "THEN", "ELSE", "END"], ["AS", "SELECT"]),
)
"""Words that mean something in SQL, but nothing in an expression: fields may be called so."""
WORD = re.compile(QUOTED.pattern + r"|`[^`]*`|\d[\w.]*|(?P<word>[^\W\d]\w*)(?P<more>\s*[('])?")
"""A text, a quoted column, a number, or a word and whether it is a function's or of a typed literal."""
DIGITS = 18
"""How many digits a decimal has in every engine, those after the point included."""


@dataclass(frozen=True)
class Type:
    """The kind of an expression's value, and its scale if that is a decimal."""

    kind: str
    scale: int = 0


@lru_cache(maxsize=1024)
def parse(sql: str) -> exp.Expr:
    """The syntax tree, which is shared: copy it to change it. Raises `DeclarationError` for what is not SQL."""
    if '"' in QUOTED.sub("", sql):
        raise DeclarationError(
            f"cannot read the expression {sql}; write texts in single quotes and columns without any."
        )
    try:
        return sqlglot.parse_one(WORD.sub(_quoted, sql), dialect="spark")
    except sqlglot.errors.SqlglotError as error:
        reason = str(error).splitlines()[0].partition(". ")[0]
        raise DeclarationError(f'cannot read the expression "{sql}" ({reason}); write plain SQL.') from None


def _quoted(found: re.Match[str]) -> str:
    """A word of SQL that is none of this grammar, in backquotes: only a column can be called so."""
    word = found["word"]
    return f"`{word}`" if word and word.upper() in OTHERS and not found["more"] else found[0]


def columns(sql: str) -> set[str]:
    """Names of the event columns the expression reads.

    >>> sorted(columns("coalesce(category, action)"))
    ['action', 'category']
    """
    return {c.name for c in parse(sql).find_all(exp.Column)}


def check(sql: str, fields: Mapping[str, Field]) -> Type:
    """The type of the expression over events with these fields.

    Raises `DeclarationError`, one sentence, if a column is unknown, the types do not fit, or the
    expression uses something that engines do not agree on.

    >>> from dualpath.schema import decimal, integer
    >>> check("price * quantity", {"price": decimal("price", scale=2), "quantity": integer("quantity")})
    Type(kind='decimal', scale=2)
    """
    return Checker(sql, {**EVENT_COLUMNS, **fields}).type(parse(sql))


def condition(sql: str, fields: Mapping[str, Field]) -> None:
    """Raise `DeclarationError` unless the expression says of payloads with these fields which are events of a source.

    It is judged before anything else of a payload is, so it reads fields, not the times, and calculates nothing.

    >>> from dualpath.schema import integer, text
    >>> condition("event_name = 'buy'", {"event_name": text("event_name")})
    >>> condition("n + 1 > 2", {"n": integer("n")})
    Traceback (most recent call last):
    dualpath.errors.DeclarationError: the expression "n + 1 > 2" calculates n + 1; compare fields as they are.
    """
    if (found := check(sql, fields)).kind != "boolean":
        raise DeclarationError(f"the expression \"{sql}\" is {found.kind}; write a condition, such as kind = 'buy'.")
    if calculated := parse(sql).find(exp.Add, exp.Sub, exp.Mul):
        raise DeclarationError(f'the expression "{sql}" calculates {calculated.sql()}; compare fields as they are.')
    if times := sorted(columns(sql).difference(fields)):
        raise DeclarationError(f'the expression "{sql}" reads {", ".join(times)}; compare fields alone.')


def operands_of_one_type(node: exp.Expr) -> list[exp.Expr]:
    """The operands that must have one type: both sides of a comparison, or the alternatives of a value. Other nodes
    have none."""
    match node:
        case exp.In():
            return [node.this, *node.expressions] if node.expressions else []
        case exp.Between():
            return [node.this, node.args["low"], node.args["high"]]
        case exp.Coalesce():
            return [node.this, *node.expressions]
        case exp.Case() if node.this is None:
            default = node.args.get("default")
            return [b.args["true"] for b in node.args["ifs"]] + ([default] if default is not None else [])
    return [node.this, node.expression] if isinstance(node, _COMPARISONS) else []


def is_number(node: exp.Expr) -> bool:
    """Whether a node is a number as it is written, perhaps with a sign."""
    if isinstance(node, exp.Neg):
        return is_number(node.this)
    return isinstance(node, exp.Literal) and not node.is_string


def _whole(node: exp.Expr) -> float:
    """The whole number as which a number is written; infinite if it is none."""
    digits = node.sql().replace(" ", "").removeprefix("-")
    sign = -1 if isinstance(node, exp.Neg) else 1
    return sign * int(digits) if digits.isdecimal() else math.inf


class Checker:
    """Type inference by recursion over the syntax tree."""

    def __init__(self, sql: str, fields: Mapping[str, Field]) -> None:
        self.sql, self.fields = sql, fields

    def type(self, node: exp.Expr) -> Type:
        """The type of one node; raises on anything outside the grammar."""
        match node:
            case exp.Paren():
                return self.type(node.this)
            case exp.Column():
                return self.column(node)
            case exp.Boolean():
                return Type("boolean")
            case exp.Null():
                return Type("null")
            case exp.Literal():
                return self.literal(node)
            case exp.Neg():
                return self.number(node.this)
            case exp.Add() | exp.Sub() | exp.Mul():
                return self.arithmetic(node)
            case exp.Lower() | exp.Upper():
                return self.same("text", node.this)
            case exp.Not() | exp.And() | exp.Or():
                for part in (node.this, node.args.get("expression")):
                    if part is not None:
                        self.same("boolean", part)
                return Type("boolean")
            case exp.Is():
                if not isinstance(node.expression, exp.Null):
                    self.refuse("IS goes with NULL only")
                self.type(node.this)
                return Type("boolean")
            case exp.Like():
                self.same("text", node.this)
                self.same("text", node.expression)
                if any("\\" in text.this for text in node.expression.find_all(exp.Literal)):
                    self.refuse("engines read a backslash in a LIKE pattern differently")
                return Type("boolean")
            case exp.Case() if node.this is None:
                for branch in node.args["ifs"]:
                    self.same("boolean", branch.this)
                return self.unify(operands_of_one_type(node))
            case exp.Coalesce():
                return self.unify(operands_of_one_type(node))
            case _ if operands_of_one_type(node):
                self.unify(operands_of_one_type(node))
                return Type("boolean")
        return self.refuse(f"'{node.sql()}' is not something all engines compute alike")

    def column(self, node: exp.Column) -> Type:
        field = None if node.table else self.fields.get(node.name)
        if field is None:
            return self.refuse(f"there is no column '{node.sql()}'; there are {', '.join(sorted(self.fields))}")
        return Type(field.kind, field.scale)

    def literal(self, node: exp.Literal) -> Type:
        if node.is_string:
            return Type("text")
        whole, _, fraction = node.name.partition(".")
        if not (whole + fraction).isdigit():
            return self.refuse(f"the number {node.name} is not a plain decimal")
        if len(whole + fraction) >= DIGITS:
            return self.refuse(f"the number {node.name} has {DIGITS} digits or more")
        return Type("decimal", len(fraction)) if fraction else Type("integer")

    def number(self, node: exp.Expr) -> Type:
        found = self.type(node)
        if found.kind == "identifier":
            return self.refuse(f"'{node.sql()}' is an identifier, which is not calculated with; declare an integer")
        return found if found.kind in REALS else self.refuse(f"'{node.sql()}' is not a number")

    def arithmetic(self, node: exp.Expr) -> Type:
        left, right = self.number(node.this), self.number(node.expression)
        if "double" in (left.kind, right.kind):
            return self.refuse("arithmetic on doubles rounds differently between engines; declare decimals")
        scale = left.scale + right.scale if isinstance(node, exp.Mul) else max(left.scale, right.scale)
        if scale > DIGITS:
            return self.refuse(f"'{node.sql()}' has {scale} digits after the point, and {DIGITS} is the most")
        return Type("decimal" if "decimal" in (left.kind, right.kind) else "integer", scale)

    def same(self, kind: str, node: exp.Expr) -> Type:
        found = self.type(node)
        return found if found.kind in (kind, "null") else self.refuse(f"'{node.sql()}' is {found.kind}, not {kind}")

    def unify(self, nodes: list[exp.Expr]) -> Type:
        """The one type of values that are compared or alternatives; exact numbers mix, doubles and identifiers do with
        literals."""
        others = [node for node in nodes if not is_number(node)]
        if any(self.type(node).kind == "identifier" for node in others):
            # Literals of any size, up to 64 bits.
            for number in (node for node in nodes if is_number(node)):
                if not -IDENTIFIER_BOUND <= _whole(number) <= IDENTIFIER_BOUND:
                    self.refuse(f"{number.sql()} is no identifier; those are whole numbers of 64 bits")
            nodes = others
        types = [t for t in map(self.type, nodes) if t.kind != "null"]
        if any(t.kind == "double" for t in types):
            types = [t for t in (self.type(n) for n in nodes if not is_number(n)) if t.kind != "null"]
        kinds = {t.kind for t in types}
        if kinds <= {"integer", "decimal"} and kinds:
            return Type("decimal" if "decimal" in kinds else "integer", max(t.scale for t in types))
        if len(kinds) != 1:
            return self.refuse(f"{' and '.join(sorted(kinds)) or 'nulls'} do not compare")
        return types[0]

    def refuse(self, why: str) -> Type:
        raise DeclarationError(f'the expression "{self.sql}" cannot be used: {why}.')
