"""The canonical records: what every source's payloads become before they are landed.

One pydantic model per entity is the only place where a field, its type and its limits are declared. From it come
- row validation for API payloads (pydantic, in `Extract.collect`),
- the Arrow schema of landed files (`arrow_schema`),
- vectorised validation of file imports (`connectors.files`, which compiles the same limits to SQL),
- the table the warehouse loads into.

Conventions
    *_code      an identifier in the SOURCE's own coding; our keys are assigned later, through xref
    *_at        an instant, UTC        *_on   a calendar date in the location's own time zone
    quantity    decimal(18, 6), in `unit`; sales are positive on order lines and positive on return lines
    *_amount    decimal(18, 4), money in `currency`; *_price decimal(18, 6) per `unit`
    ratios      float, 0..1
Every landed row also carries the columns of `arrow.META`. `record_id` is the record's identity within (source, entity): the
parts of the model's `key`, joined by U+001F. A line without an id of its own uses its ordinal within the document.

Belongs here: a module for each kind of record, and what the declarations say of columns and identities. All of it is imported
from `connectors.records`; its modules are nobody else's business.
"""

from connectors.records.arrow import arrow_schema, field_type
from connectors.records.conditions import CategoryIndex, ExchangeRate, OpeningDay, Promotion, WeatherDay
from connectors.records.entities import ENTITIES
from connectors.records.fields import Record
from connectors.records.identity import KEY_SEPARATOR, key_text, record_id
from connectors.records.master import ItemUnit, KitComponent, Location, Product, Supplier, SupplierOffer
from connectors.records.purchasing import PurchaseOrderLine, ReceiptLine
from connectors.records.sales import Order, OrderCharge, OrderLine, Payment, ReturnLine
from connectors.records.stock import Availability, StockLevel, StockMovement

SCHEMA_VERSION = 1

__all__ = [
    "ENTITIES",
    "KEY_SEPARATOR",
    "SCHEMA_VERSION",
    "Availability",
    "CategoryIndex",
    "ExchangeRate",
    "ItemUnit",
    "KitComponent",
    "Location",
    "OpeningDay",
    "Order",
    "OrderCharge",
    "OrderLine",
    "Payment",
    "Product",
    "Promotion",
    "PurchaseOrderLine",
    "ReceiptLine",
    "Record",
    "ReturnLine",
    "StockLevel",
    "StockMovement",
    "Supplier",
    "SupplierOffer",
    "WeatherDay",
    "arrow_schema",
    "field_type",
    "key_text",
    "record_id",
]
