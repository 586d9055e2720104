-- Also that each day opens with what the day before closed with, apart from opening entries.
select *
from {{ ref('fct_inventory_daily') }}
where opening + sales + returns + receipts + transfers + adjustments + write_offs + production <> closing
