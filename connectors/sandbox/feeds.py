"""What each of the three systems says when asked: pages of JSON records and where to go on.

Three kinds of paging, as found in the wild:
    changes   web shop, purchase orders, supplier payments: by (updated_at, id); a record that changed comes again
    facts     the ERP's journals: by change number, each once
    windows   tills: whole business days of stores, never a part of one
Master data of the ERP and of the tills comes whole.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from connectors.sandbox.facts import MOVEMENTS
from connectors.sandbox.systems import Systems


@dataclass(frozen=True)
class Page:
    """`records` are JSON texts; `next` is where the next page begins, None for feeds that come whole."""

    records: list[str]
    next: str | None
    more: bool

    def json(self) -> bytes:
        tail = f'],"next":{_quoted(self.next)},"more":{"true" if self.more else "false"}}}'
        return f'{{"records":[{",".join(self.records)}{tail}'.encode()


def _quoted(text: str | None) -> str:
    return "null" if text is None else f'"{text}"'


class BadCursor(ValueError):
    """A position that this system never gave out."""


# -- Changes -----------------------------------------------------------------------------------------------------------

_PAGE = """
WITH candidates AS ({candidates}),
page AS (SELECT * FROM candidates WHERE (updated_at, key) > ($moment, $key)
         ORDER BY updated_at, key LIMIT $limit)
{body} ORDER BY page.updated_at, page.key
"""

_SPOILED = "SELECT updated_at, key FROM spoiled WHERE feed = '{feed}' AND updated_at < CAST($as_of AS TIMESTAMP)"

_WEB = "(SELECT max(location) FROM place)"

CHANGES = {
    "webshop/products": (
        f"""SELECT greatest(CAST(launch_on - 20 AS TIMESTAMP),
                            CASE WHEN risen_cents <> price_cents AND rise_on < $as_of
                                 THEN CAST(rise_on AS TIMESTAMP) + INTERVAL 5 HOUR ELSE TIMESTAMP '2020-01-01' END
                   ) AS updated_at, item AS key
            FROM item WHERE sku IS NOT NULL AND launch_on - 20 < $as_of
            UNION ALL {_SPOILED.format(feed="products")}""",
        """SELECT page.updated_at, page.key, coalesce(s.body, CAST(to_json({
               'sku': i.sku, 'title': i.name, 'gtin': CASE WHEN i.gtin_in_webshop THEN i.gtin END,
               'category': i.category, 'brand': i.brand,
               'price': money(CASE WHEN i.rise_on < $as_of THEN i.risen_cents ELSE i.price_cents END),
               'currency': 'EUR', 'active': true, 'launched_on': i.launch_on, 'updated_at': iso(page.updated_at)
           }) AS VARCHAR))
           FROM page LEFT JOIN item i ON i.item = page.key LEFT JOIN spoiled s ON s.key = page.key""",
    ),
    "webshop/orders": (
        f"""SELECT CASE WHEN date_on < $as_of - 1 THEN CAST(date_on + 1 AS TIMESTAMP) + INTERVAL 9 HOUR
                        ELSE ordered_at END AS updated_at, order_key AS key
            FROM orders WHERE location = {_WEB}
            UNION ALL {_SPOILED.format(feed="orders")}""",
        """, basket AS (
               SELECT l.order_key, list({'id': l.line, 'sku': i.sku, 'title': i.name, 'quantity': l.quantity,
                                         'price': money(l.price_cents), 'discount': money(l.discount_cents),
                                         'tax': money(l.tax_cents)} ORDER BY l.line) AS lines
               FROM lines l JOIN page ON page.key = l.order_key JOIN item i ON i.item = l.item GROUP BY l.order_key)
           SELECT page.updated_at, page.key, coalesce(s.body, CAST(to_json({
               'id': order_code(o.order_key), 'created_at': iso(o.ordered_at), 'updated_at': iso(page.updated_at),
               'status': CASE WHEN o.date_on < $as_of - 1 THEN 'fulfilled' ELSE 'paid' END,
               'currency': 'EUR', 'total': money(o.total_cents),
               'customer': {'id': c.id, 'name': c.name, 'email': c.email, 'phone': c.phone},
               'shipping_address': {'name': c.name, 'street': c.street, 'city': c.city},
               'note': CASE WHEN o.order_key % 37 = 0 THEN 'Please call ' || c.phone || ' before delivery' END,
               'lines': b.lines}) AS VARCHAR))
           FROM page LEFT JOIN orders o ON o.order_key = page.key LEFT JOIN basket b ON b.order_key = page.key
           LEFT JOIN customer c ON c.customer = o.customer LEFT JOIN spoiled s ON s.key = page.key""",
    ),
    "webshop/returns": (
        f"""SELECT returned_at AS updated_at, return_key AS key FROM returns WHERE location = {_WEB}
            UNION ALL {_SPOILED.format(feed="returns")}""",
        """SELECT page.updated_at, page.key, coalesce(s.body, CAST(to_json({
               'id': return_code(r.return_key), 'order_id': order_code(r.order_key), 'line_id': r.line, 'sku': i.sku,
               'quantity': r.quantity, 'refund': money(r.refund_cents), 'currency': 'EUR', 'restocked': r.restocked,
               'customer_id': c.id, 'created_at': iso(r.returned_at), 'updated_at': iso(page.updated_at)}) AS VARCHAR))
           FROM page LEFT JOIN returns r ON r.return_key = page.key LEFT JOIN item i ON i.item = r.item
           LEFT JOIN customer c ON c.customer = r.customer LEFT JOIN spoiled s ON s.key = page.key""",
    ),
    # A payment provider collects what customers pay and pays out each week, less its fee, on the Wednesday after.
    "webshop/payments": (
        f"""SELECT ordered_at AS updated_at, order_key * 10 AS key, 'receipt' AS kind,
                   order_code(order_key) AS document, total_cents AS cents
            FROM orders WHERE location = {_WEB}
            UNION ALL SELECT returned_at, return_key * 10 + 1, 'refund', return_code(return_key), -refund_cents
            FROM returns WHERE location = {_WEB}
            UNION ALL
            SELECT paid_at, epoch(paid_at)::BIGINT * 10 + part, kind, strftime(paid_at, 'PAYOUT-%Y%m%d'),
                   CASE kind WHEN 'fee' THEN -fee ELSE cents - fee END
            FROM (SELECT CAST(date_trunc('week', date_on) + INTERVAL 9 DAY AS TIMESTAMP) + INTERVAL 8 HOUR AS paid_at,
                         sum(cents)::BIGINT AS cents, CAST(round(sum(greatest(cents, 0)) * 0.014) AS BIGINT) AS fee
                  FROM (SELECT date_on, total_cents AS cents FROM orders WHERE location = {_WEB}
                        UNION ALL SELECT date_on, -refund_cents FROM returns WHERE location = {_WEB})
                  GROUP BY 1)
            CROSS JOIN (VALUES (2, 'fee'), (3, 'payout')) parts(part, kind)
            WHERE paid_at < CAST($as_of AS TIMESTAMP)""",
        """SELECT page.updated_at, page.key, CAST(to_json({
               'id': printf('PAY-%d', key), 'kind': kind, 'document': document, 'amount': money(cents),
               'currency': 'EUR', 'provider': 'PayHub', 'paid_at': iso(updated_at)}) AS VARCHAR)
           FROM page""",
    ),
    "erp/purchase-orders": (
        """SELECT greatest(min(p.ordered_at), max(r.received_at)) AS updated_at, p.order_number AS key
           FROM purchase_orders p LEFT JOIN receipts r USING (order_number) GROUP BY p.order_number""",
        """, {purchase_orders}
           SELECT page.updated_at, page.key, CAST(to_json(orders_of_page.body) AS VARCHAR)
           FROM page JOIN orders_of_page USING (key)""",
    ),
    # Paid by the supplier's terms, one payment per delivery.
    "erp/supplier-payments": (
        """SELECT CAST(r.date_on + CAST(s.terms_days AS INTEGER) AS TIMESTAMP) + INTERVAL 10 HOUR AS updated_at,
                  epoch(r.date_on)::BIGINT * 100000000 + abs(r.order_number) % 100000000 AS key
           FROM receipts r JOIN supplier s USING (supplier)
           WHERE r.date_on + CAST(s.terms_days AS INTEGER) < $as_of GROUP BY ALL""",
        """, paid AS (
               SELECT epoch(r.date_on)::BIGINT * 100000000 + abs(r.order_number) % 100000000 AS key, r.order_number,
                      s.code, s.currency, sum((r.quantity * r.price_e4 + 50) // 100)::BIGINT AS cents
               FROM receipts r JOIN supplier s USING (supplier) GROUP BY ALL)
           SELECT page.updated_at, page.key, CAST(to_json({
               'number': printf('SP-%d', page.key), 'purchase_order': po_code(paid.order_number),
               'supplier': paid.code, 'amount': money(paid.cents), 'currency': paid.currency,
               'paid_at': iso(page.updated_at)}) AS VARCHAR)
           FROM page JOIN paid USING (key)""",
    ),
}

# A supplier that quotes cases is ordered from in cases.
_PURCHASE_ORDERS = """lines_of_page AS (
    SELECT p.order_number AS key, p.line, i.erp_code, p.quantity, p.price_e4, s.quotes_cases, i.case_size,
           coalesce((SELECT sum(r.quantity) FROM receipts r
                     WHERE r.order_number = p.order_number AND r.line = p.line), 0) AS received,
           p.expected_on, p.ordered_at, s.code AS supplier, s.currency, w.stock_code
    FROM purchase_orders p JOIN page ON page.key = p.order_number JOIN item i USING (item)
    JOIN supplier s USING (supplier) JOIN place w ON w.location = p.location AND w.sells),
orders_of_page AS (
    SELECT key, {'number': po_code(key), 'reference': any_value(reference.reference), 'supplier': any_value(supplier),
           'location': any_value(stock_code), 'currency': any_value(currency),
           'ordered_at': iso(any_value(ordered_at)), 'expected_on': any_value(expected_on),
           'lines': list({'line': line, 'item': erp_code,
               'quantity': CASE WHEN quotes_cases AND quantity % case_size = 0 THEN quantity // case_size
                                ELSE quantity END,
               'unit': CASE WHEN quotes_cases AND quantity % case_size = 0 THEN 'case' ELSE 'each' END,
               'unit_price': price(CASE WHEN quotes_cases AND quantity % case_size = 0 THEN price_e4 * case_size
                                        ELSE price_e4 END),
               'received': received >= quantity} ORDER BY line)} AS body
    FROM lines_of_page LEFT JOIN reference ON reference.order_number = key GROUP BY key)"""


def changes(systems: Systems, feed: str, after: str | None, limit: int) -> Page:
    """Records of a feed that changed after a position `updated_at|key`, oldest change first."""
    candidates, body = CHANGES[feed]
    moment, _, key = (after or "").partition("|")
    try:
        position = {
            "moment": dt.datetime.fromisoformat(moment or "1970-01-01").replace(tzinfo=None),
            "key": int(key) if key else -(2**62),
        }
    except ValueError:
        raise BadCursor("The cursor must look like 2026-01-31T10:00:00Z|123.") from None
    sql = _PAGE.format(candidates=candidates, body=body.replace("{purchase_orders}", _PURCHASE_ORDERS))
    rows = systems.rows(sql, {**position, "limit": limit})
    last = f"{rows[-1][0].isoformat()}Z|{rows[-1][1]}" if rows else after
    return Page([row[2] for row in rows], last, len(rows) == limit)


def purchase_orders_by_reference(systems: Systems, reference: str) -> Page:
    """All purchase orders that came with a reference, oldest first."""
    sql = f"""WITH page AS (SELECT DISTINCT order_number AS key FROM reference WHERE reference = $reference),
              {_PURCHASE_ORDERS} SELECT CAST(to_json(body) AS VARCHAR) FROM orders_of_page ORDER BY key DESC"""
    return Page([row[0] for row in systems.rows(sql, {"reference": reference})], None, False)


# -- Facts -------------------------------------------------------------------------------------------------------------

FACT_FEEDS = {
    "erp/receipts": (
        "receipts",
        """{'change': page.rid, 'purchase_order': po_code(order_number), 'purchase_order_line': line,
            'supplier': supplier.code, 'location': place.stock_code, 'item': erp_code, 'quantity': quantity,
            'unit_cost': price(price_e4), 'currency': supplier.currency, 'expires_on': expires_on,
            'received_at': iso(received_at)}""",
        "JOIN supplier USING (supplier) JOIN item USING (item) JOIN place ON place.location = page.location"
        " AND place.sells",
    ),
    "erp/stock-movements": (
        "movements",
        f"""{{'change': page.rid, 'type': {list(MOVEMENTS)}[page.kind + 1], 'location': place.stock_code,
            'item': erp_code, 'quantity': quantity, 'moved_at': iso(moved_at), 'document': transfer_code(document),
            'unit_cost': CASE WHEN page.kind = 0 THEN money(item.cost_cents) END,
            'currency': CASE WHEN page.kind = 0 THEN 'EUR' END, 'expires_on': expires_on}}""",
        "JOIN item USING (item) JOIN place ON place.location = page.location AND place.sells",
    ),
    "erp/stock-levels": (
        "stock",
        """{'location': place.stock_code, 'item': erp_code, 'on_hand': on_hand, 'expires_on': expires_on,
            'counted': is_count, 'at': iso(counted_at)}""",
        "JOIN item USING (item) JOIN place ON place.location = page.location AND place.sells",
    ),
    "erp/availability": (
        "latent",
        """{'location': place.code, 'item': erp_code, 'date': date_on, 'in_stock_share': round(in_stock_share, 4)}""",
        "JOIN item USING (item) JOIN place ON place.location = page.location AND place.sells",
    ),
    "erp/weather": (
        "weather",
        """{'location': place.code, 'date': date_on, 'issued_at': iso(issued_at), 'temperature': temperature,
            'precipitation': rain, 'humidity': humidity, 'wind': wind}""",
        "JOIN place ON place.location = page.location AND place.sells",
    ),
    "erp/exchange-rates": ("exchange_rates", "{'from': currency, 'to': 'EUR', 'date': date_on, 'rate': rate}", ""),
}


def facts(systems: Systems, feed: str, after: str | None, limit: int) -> Page:
    """Journal entries with a change number above `after`."""
    table, body, joins = FACT_FEEDS[feed]
    try:
        number = int(after or 0)
    except ValueError:
        raise BadCursor("The cursor must be a change number.") from None
    sql = f"""WITH page AS (SELECT * FROM {table} WHERE rid > $after AND rid <= $after + $limit)
              SELECT page.rid, CAST(to_json({body}) AS VARCHAR) FROM page {joins} ORDER BY page.rid"""
    rows = systems.rows(sql, {"after": number, "limit": limit})
    last = str(rows[-1][0]) if rows else after
    return Page([row[1] for row in rows], last, len(rows) == limit)


# -- Windows -----------------------------------------------------------------------------------------------------------

WINDOW_FEEDS = {
    "tills/receipts": (
        "orders",
        """, basket AS (
            SELECT l.order_key, list({'no': l.line, 'plu': i.plu, 'text': i.name, 'qty': l.quantity,
                                      'price': money(l.price_cents), 'discount': money(l.discount_cents),
                                      'vat': money(l.tax_cents)} ORDER BY l.line) AS lines
            FROM lines l JOIN page USING (date_on, location) JOIN item i ON i.item = l.item GROUP BY l.order_key)
        SELECT o.date_on, o.location, CAST(to_json({
            'store': p.code, 'business_day': o.date_on, 'receipt': order_code(o.order_key),
            'closed_at': iso(o.ordered_at),
            'loyalty_card': CASE WHEN o.customer >= 0 THEN printf('L%d', o.customer) END,
            'total': money(o.total_cents), 'currency': 'EUR', 'lines': b.lines}) AS VARCHAR)
        FROM orders o JOIN page USING (date_on, location) JOIN basket b USING (order_key)
        JOIN place p ON p.location = o.location AND p.sells ORDER BY o.date_on, o.location, o.order_key""",
    ),
    "tills/returns": (
        "returns",
        """SELECT r.date_on, r.location, CAST(to_json({
            'store': p.code, 'business_day': r.date_on, 'return': return_code(r.return_key),
            'receipt': order_code(r.order_key), 'plu': i.plu, 'qty': r.quantity, 'refund': money(r.refund_cents),
            'currency': 'EUR', 'back_on_shelf': r.restocked, 'at': iso(r.returned_at),
            'loyalty_card': CASE WHEN r.customer >= 0 THEN printf('L%d', r.customer) END}) AS VARCHAR)
        FROM returns r JOIN page USING (date_on, location) JOIN item i USING (item)
        JOIN place p ON p.location = r.location AND p.sells ORDER BY r.date_on, r.location, r.return_key""",
    ),
    # The Z report of each till: what a store took in a business day, by tender, and each refund.
    "tills/payments": (
        "orders",
        """, taken AS (
            SELECT date_on, location, CASE WHEN order_key % 10 < 3 THEN 'CASH' ELSE 'CARD' END AS tender,
                   'receipt' AS kind, NULL AS document, max(ordered_at) AS paid_at, sum(total_cents)::BIGINT AS cents
            FROM orders JOIN page USING (date_on, location) GROUP BY ALL
            UNION ALL
            SELECT date_on, location, 'CASH', 'refund', return_code(return_key), returned_at, -refund_cents
            FROM returns JOIN page USING (date_on, location))
        SELECT t.date_on, t.location, CAST(to_json({
            'store': p.code, 'business_day': t.date_on, 'tender': t.tender, 'kind': t.kind,
            'report': 'Z-' || p.code || strftime(t.date_on, '-%Y%m%d-') || coalesce(t.document, t.tender),
            'document': t.document, 'amount': money(t.cents), 'currency': 'EUR', 'at': iso(t.paid_at)}) AS VARCHAR)
        FROM taken t JOIN place p ON p.location = t.location AND p.sells
        ORDER BY t.date_on, t.location, t.kind, t.tender, t.document""",
    ),
}


def windows(systems: Systems, feed: str, after: str | None, first: dt.date | None, limit: int) -> Page:
    """Whole (business day, store) windows after the window `day/store`, or from a day on; about `limit` records."""
    table, body = WINDOW_FEEDS[feed]
    day, _, store = (after or "").partition("/")
    places = {place.code: index for index, place in enumerate(systems.catalogue.places)}
    try:
        position = {
            "day": dt.date.fromisoformat(day) if day else (first or dt.date.min),
            "store": places[store] if store else -1,
        }
    except (ValueError, KeyError):
        raise BadCursor("The cursor must look like 2026-01-31/S1.") from None
    sql = f"""WITH counted AS (
                  SELECT date_on, location, count(*) AS records FROM {table}
                  WHERE location < {_WEB} AND (date_on, location) > ($day, $store) GROUP BY date_on, location),
              so_far AS (SELECT *, sum(records) OVER (ORDER BY date_on, location) - records AS before FROM counted),
              page AS (SELECT date_on, location FROM so_far WHERE before < $limit)
              {body}"""
    rows = systems.rows(sql, {**position, "limit": limit})
    if not rows:
        return Page([], after, False)
    last = {"day": rows[-1][0], "store": rows[-1][1]}
    rest = f"SELECT 1 FROM {table} WHERE location < {_WEB} AND (date_on, location) > ($day, $store) LIMIT 1"
    code = systems.catalogue.places[last["store"]].code
    return Page([row[2] for row in rows], f"{last['day']}/{code}", bool(systems.rows(rest, last)))


# -- Master data, whole ------------------------------------------------------------------------------------------------

MASTER = {
    "tills/articles": """
        SELECT {'plu': plu, 'text': name, 'gtin': CASE WHEN gtin_in_tills THEN gtin END,
                'price': money(CASE WHEN rise_on < $as_of THEN risen_cents ELSE price_cents END), 'currency': 'EUR'
        } AS record FROM item WHERE plu IS NOT NULL AND launch_on - 20 < $as_of ORDER BY plu""",
    "erp/items": """
        SELECT {'item': erp_code, 'name': name, 'gtin': gtin, 'category': category, 'brand': brand,
                'shelf_life_days': nullif(shelf_life, 0), 'kit': is_kit, 'launched_on': launch_on,
                'list_price': money(CASE WHEN rise_on < $as_of THEN risen_cents ELSE price_cents END),
                'currency': 'EUR',
                'units': CASE WHEN case_size > 1 THEN [{'unit': 'each', 'base_units': 1},
                                                       {'unit': 'case', 'base_units': case_size}]
                              ELSE [{'unit': 'each', 'base_units': 1}] END,
                'components': (SELECT coalesce(list({'item': part.erp_code, 'quantity': k.quantity}
                                                    ORDER BY k.item), [])
                               FROM kit_part k JOIN item part USING (item) WHERE k.kit = i.item)} AS record
        FROM item i WHERE erp_code IS NOT NULL AND launch_on - 45 < $as_of ORDER BY erp_code""",
    "erp/locations": """
        SELECT {'location': code, 'name': name, 'kind': kind, 'timezone': timezone, 'country': country,
                'business_day_start': business_day_start, 'supplied_from': supplied_from,
                'closed_days': (SELECT coalesce(list(date_on ORDER BY date_on), []) FROM closed_day c
                                WHERE c.location = p.location AND p.sells)} AS record
        FROM place p ORDER BY code""",
    "erp/suppliers": """
        SELECT {'supplier': code, 'name': name, 'currency': currency, 'terms_days': terms_days, 'lead_time': lead_mean,
                'lead_time_sd': lead_sd, 'order_weekdays': order_weekdays, 'minimum_order': minimum_order} AS record
        FROM supplier ORDER BY code""",
    "erp/offers": """
        WITH known AS (SELECT * FROM offer WHERE announced < $as_of),
        spans AS (SELECT DISTINCT supplier, item, valid_from FROM known),
        ends AS (SELECT *, lead(valid_from) OVER (PARTITION BY supplier, item ORDER BY valid_from) AS next FROM spans)
        SELECT {'supplier': s.code, 'item': i.erp_code, 'currency': s.currency, 'valid_from': k.valid_from,
                'valid_to': e.next - 1,
                'unit': CASE WHEN s.quotes_cases AND i.case_size > 1 THEN 'case' ELSE 'each' END,
                'moq': any_value(k.moq) // CASE WHEN s.quotes_cases THEN i.case_size ELSE 1 END,
                'pack': any_value(k.pack) // CASE WHEN s.quotes_cases THEN i.case_size ELSE 1 END,
                'steps': list({'from': k.from_quantity // CASE WHEN s.quotes_cases THEN i.case_size ELSE 1 END,
                               'price': price(k.price_e4 * CASE WHEN s.quotes_cases THEN i.case_size ELSE 1 END)}
                              ORDER BY k.from_quantity)} AS record
        FROM known k JOIN ends e USING (supplier, item, valid_from) JOIN supplier s USING (supplier)
        JOIN item i USING (item) WHERE i.launch_on - 45 < $as_of
        GROUP BY s.code, i.erp_code, s.currency, k.valid_from, e.next, s.quotes_cases, i.case_size
        ORDER BY s.code, i.erp_code, k.valid_from""",
    "erp/promotions": """
        SELECT {'promotion': m.code, 'item': i.erp_code, 'location': p.code, 'starts_on': starts, 'ends_on': ends,
                'discount': discount, 'announced_on': announced} AS record
        FROM promotion m JOIN item i USING (item) LEFT JOIN place p ON p.location = m.location AND p.sells
        WHERE announced < $as_of ORDER BY m.code""",
    "erp/declared-pairs": """
        SELECT {'source': source, 'code': code, 'other_source': other_source, 'other_code': other_code} AS record
        FROM declared_pair ORDER BY source, code""",
}


def master(systems: Systems, feed: str) -> Page:
    """All records of a master data feed, as they are known on the virtual date."""
    rows = systems.rows(f"SELECT CAST(to_json(record) AS VARCHAR) FROM ({MASTER[feed]})")
    return Page([row[0] for row in rows], None, False)
