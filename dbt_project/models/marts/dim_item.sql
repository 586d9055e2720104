select
    item_key,
    item_code,
    name,
    gtin,
    category,
    brand,
    base_unit,
    shelf_life_days,
    is_kit,
    is_active,
    launched_on,
    list_price,
    currency
from {{ ref('int_items') }}
union all
select 'unmatched', null, 'Codes that match no item', null, null, null, 'each', null, false, false, null, null, null
