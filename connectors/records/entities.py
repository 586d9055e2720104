"""Every kind of record by the name of its entity."""

from __future__ import annotations

from connectors.records.conditions import CategoryIndex, ExchangeRate, OpeningDay, Promotion, WeatherDay
from connectors.records.fields import Record
from connectors.records.master import ItemUnit, KitComponent, Location, Product, Supplier, SupplierOffer
from connectors.records.purchasing import PurchaseOrderLine, ReceiptLine
from connectors.records.sales import Order, OrderCharge, OrderLine, Payment, ReturnLine
from connectors.records.stock import Availability, StockLevel, StockMovement

ENTITIES: dict[str, type[Record]] = {
    model.entity: model
    for model in (
        Product, ItemUnit, KitComponent, Location, OpeningDay, Supplier, SupplierOffer, Promotion, WeatherDay,
        CategoryIndex, ExchangeRate, Order, OrderLine, ReturnLine, OrderCharge, Payment, StockLevel, StockMovement, Availability,
        PurchaseOrderLine, ReceiptLine,
    )
}  # fmt: skip
