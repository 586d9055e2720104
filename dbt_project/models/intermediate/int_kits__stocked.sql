-- Kits that are assembled into stock of their own, and since which day.
select m.item_key as kit_key, min(m.business_date) as stocked_since
from {{ ref('int_stock_movements__resolved') }} as m
semi join {{ ref('int_kit_components') }} as k on k.kit_key = m.item_key
where m.superseded_load is null and m.kind in ('opening', 'production')
group by all
