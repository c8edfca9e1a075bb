"""Reads a `CREATE SOURCE` (or TABLE) and a query by `GROUP BY` over it; refuses by name what cannot be declared."""

import sqlglot
from sqlglot import exp
from sqlglot.optimizer.normalize_identifiers import normalize_identifiers

from dualpath.errors import InputError
from dualpath.field import Field
from dualpath.sql.aggregates import Translator
from dualpath.sql.levels import Conditions
from dualpath.sql.query import Aggregated, Query
from dualpath.sql.refusal import DIALECT, declaring, refuse, shown
from dualpath.sql.schema import columns, source
from dualpath.sql.windows import asks_now, bare
from dualpath.view import Feature, View

TAKEN = ("expressions", "from_", "where", "group")
"""The clauses of a query that a declaration has a place for."""
REFUSED = {
    "joins": ("a JOIN", "declare a view for each source"),
    "having": ("HAVING", "leave it out: a feature has a value for every entity"),
    "limit": ("LIMIT", "leave it out: a feature has a value for every entity"),
    "offset": ("OFFSET", "leave it out: a feature has a value for every entity"),
    "order": ("ORDER BY", "leave it out: entities have no order"),
    "distinct": ("SELECT DISTINCT", "leave DISTINCT out"),
    "with_": ("WITH", "write the query over the source itself"),
}


def read(sql: str) -> Query:
    """The declaration of a file's statements: one source or table, and one query.

    Names that are not quoted are in small letters, as in PostgreSQL. Raises `InputError` with the line, what cannot be
    declared, and what to write instead.
    """
    try:
        parsed = [each for each in sqlglot.parse(sql, dialect=DIALECT) if each is not None]
    except sqlglot.errors.SqlglotError as error:
        raise InputError(f"the file is not SQL: {str(error).splitlines()[0]}; correct it.") from None
    tables: dict[str, exp.Create] = {}
    queries: list[tuple[str, exp.Select]] = []
    for each in (normalize_identifiers(statement, dialect=DIALECT) for statement in parsed):
        is_view = isinstance(each, exp.Create) and each.kind == "VIEW"
        if isinstance(each, exp.Create) and each.kind in ("SOURCE", "TABLE") and each.expression is None:
            tables[each.this.this.name if isinstance(each.this, exp.Schema) else each.this.name] = each
        elif is_view and isinstance(each.expression, exp.Select) and isinstance(each.this, exp.Table):
            queries.append((each.this.name, each.expression))
        elif is_view and isinstance(each.this, exp.Schema):
            refuse(each.this, f"the view {each.this.this.name} names its columns", "name them in the query, with AS")
        elif isinstance(each, exp.Select):
            queries.append(("features", each))
        else:
            refuse(each, f"{shown(each)} is no source, table or query", "leave it out")
    if len(queries) != 1:
        raise InputError(f"the file has {len(queries)} queries; give one, with the CREATE SOURCE of its events.")
    [(name, select)] = queries
    return _query(name, select, _created(select, tables))


def _created(select: exp.Select, tables: dict[str, exp.Create]) -> exp.Create:
    """The source of a query that has no clause but those that a declaration has a place for."""
    for clause, found in select.args.items():
        if found and clause not in TAKEN:
            node = found[0] if isinstance(found, list) else found
            what, remedy = REFUSED.get(clause, (clause.strip("_").upper(), "leave it out"))
            refuse(node if isinstance(node, exp.Expr) else select, what, remedy)
    if inner := next((each for each in select.find_all(exp.Select) if each is not select), None):
        refuse(inner, "a query inside of the query", "write one query over the source")
    if over := select.find(exp.Window):
        refuse(over, f"{shown(over)}: a window function", "windows are conditions on the time of events")
    if "from_" not in select.args:
        raise InputError("the query has no FROM; name the source of the events.")
    table = select.args["from_"].this
    more = [key for key, value in table.args.items() if value and key not in ("this", "alias", "db", "catalog")]
    if not isinstance(table, exp.Table) or more or table.name not in tables:
        refuse(table, f"the query reads {shown(table)}, which the file does not create", "add its CREATE SOURCE")
    return tables[table.name]


def _query(name: str, select: exp.Select, created: exp.Create) -> Query:
    declared = columns(created)
    keys = _keys(select, declared)
    where = select.args.get("where")
    events = source(created, keys, _time(select, created, declared))
    translator = Translator(events, where and where.this)
    features: dict[str, Aggregated] = {}
    cases: list[tuple[str, exp.Case]] = []
    for each in select.expressions:
        if isinstance(each, exp.Column) and each.name in keys:
            continue
        if not isinstance(each, exp.Alias):
            refuse(each, f"{shown(each)} has no name", "add AS and the feature's name")
        if each.alias in (*features, *keys, *(alias for alias, _ in cases)):
            refuse(each, f"{each.alias} is there twice", "rename one")
        if isinstance(selected := bare(each.this), exp.Case):
            cases.append((each.alias, selected))
        else:
            features[each.alias] = translator.aggregate(selected)
    output = [each.alias for each in select.expressions if isinstance(each, exp.Alias)]
    hidden: dict[str, Aggregated] = {}

    def named(found: Aggregated) -> str:
        """The name of the feature that is the aggregate over the window; a hidden one if none is."""
        for known, already in {**features, **hidden}.items():
            if (already.aggregate, already.over) == (found.aggregate, found.over):
                return known
        free = (f"{name}_{number}" for number in range(1, len(output) + len(hidden) + 2))
        made = next(each for each in free if each not in (*output, *hidden, *keys))
        hidden[made] = found
        return made

    conditions = Conditions(translator.number, named)
    levels = tuple(conditions.levels(alias, case) for alias, case in cases)
    if not features and not hidden:
        raise InputError("the query has no aggregate; a feature is one, as COUNT(*).")
    with declaring():
        every = {**features, **hidden}
        View(name, keys, events, tuple(Feature(each, of.aggregate, of.over) for each, of in every.items()))
    return Query(name, events, keys, features, hidden, levels, tuple(output))


def _keys(select: exp.Select, declared: dict[str, Field]) -> tuple[str, ...]:
    """The join keys: the columns of GROUP BY."""
    group = select.args.get("group")
    if group is None:
        raise InputError("the query has no GROUP BY; group by the columns of an entity, as user_id.")
    others = any(value for key, value in group.args.items() if key != "expressions")
    for each in group.expressions or [group]:
        known = declared.get(each.name) if isinstance(each, exp.Column) else None
        if others or known is None or not known.key:
            refuse(group, shown(group).strip(), "group by text or integer columns of the source")
    return tuple(dict.fromkeys(each.name for each in group.expressions))


def _time(select: exp.Select, created: exp.Create, declared: dict[str, Field]) -> str:
    """The column of the instant at which events happen: the one that is compared with the present, else that of the
    watermark, else the only TIMESTAMP."""
    compared = {
        side.name
        for each in select.find_all(exp.GT, exp.GTE, exp.LT, exp.LTE, exp.Between)
        for side in map(bare, each.iter_expressions())
        if isinstance(side, exp.Column) and any(asks_now(other) for other in each.iter_expressions())
    }
    watermarks = {each.this.name for each in created.find_all(exp.WatermarkColumnConstraint)}
    named = compared or watermarks or {each.name for each in declared.values() if each.kind == "timestamp"}
    if len(named) != 1:
        told = ", ".join(sorted(named)) or "none"
        raise InputError(f"which column is the time of an event? There are {told}; compare one of them with NOW().")
    [time] = named
    if time not in declared or declared[time].kind != "timestamp":
        raise InputError(f"{time} is compared with NOW() and is no TIMESTAMP of the source; correct its type.")
    return time
