"""Invoices of a spreadsheet, saved as CSV: local times in another order, headers of a person, empty cells."""

from feast import Entity, ValueType

from dualpath.aggregates import Count, Sum
from dualpath.declare import event_source, feature, feature_view
from dualpath.schema import boolean, decimal, integer, text, timestamp
from dualpath.windows import days

customer = Entity(name="customer", join_keys=["customer_id"], value_type=ValueType.STRING)
invoices = event_source(
    "invoices",
    event_id=text("number", path='["Invoice No."]'),
    event_time=timestamp("issued", path='["Issued on"]', format="dd/MM/yyyy HH:mm", zone="Europe/Berlin"),
    arrival_time=None,
    fields=[
        text("customer_id", path='["Customer ID"]', required=True),
        decimal("amount", scale=2, path='["Amount (EUR)"]'),
        integer("items", path="Items", lenient=True),
        boolean("gift", path='["Gift?"]', lenient=True, empty_is_null=True),
    ],
)
invoiced = feature_view(
    "invoiced",
    entity=customer,
    source=invoices,
    features=[
        feature("amount_30d", Sum("amount"), over=days(30)),
        feature("items_30d", Sum("items"), over=days(30)),
        feature("gifts_30d", Count(where="gift"), over=days(30)),
    ],
)
