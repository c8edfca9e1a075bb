"""Reads a `CREATE SOURCE` (or TABLE) and a query by `GROUP BY` over it; refuses by name what cannot be declared."""

import keyword

import sqlglot
from sqlglot import exp

from dualpath.errors import InputError
from dualpath.sql.aggregates import Translator
from dualpath.sql.levels import levels
from dualpath.sql.query import Aggregated, Column, Query
from dualpath.sql.refusal import refuse
from dualpath.sql.schema import columns
from dualpath.sql.windows import asks_now

DIALECT = "risingwave"
REFUSED = {
    "joins": "a JOIN: declare a view for each source",
    "having": "HAVING: a feature has a value for every entity",
    "distinct": "SELECT DISTINCT",
    "limit": "LIMIT: a feature has a value for every entity",
    "order": "ORDER BY: entities have no order",
    "with_": "WITH: write the query over the source itself",
    "windows": "WINDOW",
    "qualify": "QUALIFY",
}
"""Clauses that a declaration has no place for."""


def read(sql: str) -> Query:
    """The declaration of a file's statements: one source or table, and one query.

    Raises `InputError` with the line, what cannot be declared, and what to write instead.
    """
    try:
        statements = [each for each in sqlglot.parse(sql, dialect=DIALECT) if each is not None]
    except sqlglot.errors.SqlglotError as error:
        raise InputError(f"the file is not SQL: {str(error).splitlines()[0]}; correct it.") from None
    tables, queries = {}, []
    for each in statements:
        if isinstance(each, exp.Create) and each.kind in ("SOURCE", "TABLE"):
            tables[each.this.this.name] = each
        elif isinstance(each, exp.Create) and each.kind == "VIEW" and isinstance(each.expression, exp.Select):
            queries.append((each.this.name, each.expression))
        elif isinstance(each, exp.Select):
            queries.append(("features", each))
        else:
            refuse(each, f"{each.sql()[:40]} ... is no source, table or query", "leave it out")
    if len(queries) != 1:
        raise InputError(f"the file has {len(queries)} queries; give one, with the CREATE SOURCE of its events.")
    name, select = queries[0]
    return _query(name, select, tables)


def _query(name: str, select: exp.Select, tables: dict[str, exp.Create]) -> Query:
    for clause, what in REFUSED.items():
        if select.args.get(clause):
            refuse(select.args[clause] if clause != "joins" else select.args[clause][0], what, "leave it out")
    if inner := next((each for each in select.find_all(exp.Select) if each is not select), None):
        refuse(inner, "a query inside of the query", "write one query over the source")
    if over := select.find(exp.Window):
        refuse(over, f"{over.sql()}: a window function", "windows are conditions on the time of events")
    table = select.args["from_"].this
    if not isinstance(table, exp.Table) or table.name not in tables:
        raise InputError(f"the query reads {table.sql()}, which the file does not create; add its CREATE SOURCE.")
    declared = columns(tables[table.name])
    group = select.args.get("group")
    keys = _keys(group, declared)
    time = _time(select, declared)
    where = select.args.get("where")
    return _features(name, table.name, keys, time, declared, select, Translator(time, where and where.this))


def _keys(group: exp.Group | None, declared: tuple[Column, ...]) -> tuple[str, ...]:
    """The join keys: the columns of GROUP BY."""
    if group is None or not group.expressions:
        raise InputError("the query has no GROUP BY; group by the columns of an entity, as user_id.")
    kinds = {each.name: each.kind for each in declared}
    for each in group.expressions:
        if not isinstance(each, exp.Column) or kinds.get(each.name) not in ("text", "integer"):
            refuse(each, f"GROUP BY {each.sql()}", "group by text or integer columns of the source")
    return tuple(each.name for each in group.expressions)


def _time(select: exp.Select, declared: tuple[Column, ...]) -> str:
    """The column of the instant at which events happen: the one that is compared with the present, or the only one."""
    named = {
        column.name
        for each in select.find_all(exp.GT, exp.GTE, exp.LT, exp.LTE, exp.Between)
        if asks_now(each)
        for column in each.find_all(exp.Column)
    }
    named = named or {each.name for each in declared if each.kind == "timestamp"}
    if len(named) != 1:
        told = ", ".join(sorted(named)) or "none"
        raise InputError(f"which column is the time of an event? There are {told}; compare one of them with NOW().")
    [time] = named
    if {each.name: each.kind for each in declared}.get(time) != "timestamp":
        raise InputError(f"{time} is compared with NOW() and is no TIMESTAMP of the source; correct its type.")
    return time


def _features(
    name: str,
    source: str,
    keys: tuple[str, ...],
    time: str,
    declared: tuple[Column, ...],
    select: exp.Select,
    translator: Translator,
) -> Query:
    features: dict[str, Aggregated] = {}
    cases: list[tuple[str, exp.Case]] = []
    output = []
    for each in select.expressions:
        if isinstance(each, exp.Column) and each.name in keys:
            continue
        if not isinstance(each, exp.Alias):
            refuse(each, f"{each.sql()} has no name", "add AS and the feature's name")
        output.append(each.alias)
        if each.alias in output[:-1] or each.alias in keys:
            refuse(each, f"{each.alias} is there twice", "rename one")
        if isinstance(each.this, exp.Case):
            cases.append((each.alias, each.this))
        else:
            features[each.alias] = translator.aggregate(each.this)
    hidden: dict[str, Aggregated] = {}

    def feature(node: exp.Expr, of: str) -> tuple[str, Aggregated]:
        found = translator.aggregate(node)
        for known, already in {**features, **hidden}.items():
            if already == found:
                return known, found
        made = f"{of}_{len(hidden) + 1}"
        hidden[made] = found
        return made, found

    made = tuple(levels(alias, case, lambda node, alias=alias: feature(node, alias)) for alias, case in cases)  # type: ignore[misc]
    if not features and not hidden:
        raise InputError("the query has no aggregate; a feature is one, as COUNT(*).")
    for called in (name, source, *keys, *(each.name for each in declared), *output):
        if not called.isidentifier() or keyword.iskeyword(called):
            raise InputError(f"'{called}' is not a plain name; rename it: letters, digits and underscores.")
    if name == source:
        raise InputError(f"the query and its source are both called '{name}'; rename one.")
    required = {*keys}
    fields = tuple(
        Column(each.name, each.kind, each.scale, each.required or each.name in required)
        for each in declared
        if each.name != time
    )
    return Query(name, source, keys, time, fields, features, hidden, made, tuple(output))
