-- depends_on: {{ ref('int_items') }}
-- depends_on: {{ ref('int_exchange_rates__changed') }}
-- The items whose sales or costs changed, and the Monday from which on their weeks must be restated; kits with what they
-- are picked from.
with items as (
    select item_key, from_date from {{ ref('int_stock_value__touched') }}
    union
    -- Also of what has no stock any more.
    select item_key, from_date from {{ ref('int_stock__restated') }}
    union
    select sold_item_key, business_date from {{ ref('int_stock_sales') }} as l where {{ rate_changed('l', 'ordered_at') }}
),

affected as (
    select * from items
    union all
    select k.kit_key, i.from_date from items as i inner join {{ ref('int_kit_components') }} as k using (item_key)
    {% if built_to() %}
    -- The week that goes on.
    union all
    select item_key, date '{{ built_to() }}' - 1 from {{ ref('int_items') }}
    {% endif %}
)

select item_key, cast(date_trunc('week', min(from_date)) as date) as from_week
from affected
where not {{ is_anew() }}
group by all
