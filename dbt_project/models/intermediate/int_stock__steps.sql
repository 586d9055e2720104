-- depends_on: {{ ref('int_stock_value__touched') }}
-- What this build walks through to find moving averages: the days on which something came into a series at a cost of its
-- own or of its sender's, or was sent on, with the quantities that decide the average.
with series as (
    select
        s.item_key,
        s.location_key,
        {% if is_anew() == 'true' %} date '0001-01-01' {% else %} t.from_date {% endif %} as from_date
    from {{ ref('int_stock__series') }} as s
    {% if is_anew() != 'true' %}
    inner join {{ ref('int_stock_value__touched') }} as t using (item_key, location_key)
    {% endif %}
),

known as (
    select item_key, location_key, business_date, sum(quantity) as quantity, sum(cost) as cost
    from {{ ref('int_stock_inflows') }}
    group by all
),

happened as (
    select item_key, location_key, business_date from known
    union
    select item_key, location_key, business_date from {{ ref('int_stock_links') }}
    union
    select from_item_key, from_location_key, sent_on from {{ ref('int_stock_links') }}
)

select
    s.item_key,
    s.location_key,
    h.business_date,
    -- Stock below zero has no part in an average.
    cast(greatest(i.opening - coalesce(m.opening, 0), 0) as double) as carried,
    cast(coalesce(k.quantity, 0) as double) as known_quantity,
    cast(coalesce(k.cost, 0) as double) as known_cost,
    cast(-coalesce(m.transfers_out + m.consumption, 0) as double) as sent_quantity,
    f.unit_cost as first_cost,
    f.known_from <= h.business_date as is_first_known
from series as s
inner join happened as h
    on h.item_key = s.item_key and h.location_key = s.location_key and h.business_date >= s.from_date
inner join {{ ref('fct_inventory_daily') }} as i
    on i.item_key = h.item_key and i.location_key = h.location_key and i.business_date = h.business_date
inner join {{ ref('int_stock__first_cost') }} as f on f.item_key = s.item_key and f.location_key = s.location_key
left join {{ ref('int_stock_movements__daily') }} as m
    on m.item_key = h.item_key and m.location_key = h.location_key and m.business_date = h.business_date
left join known as k
    on k.item_key = h.item_key and k.location_key = h.location_key and k.business_date = h.business_date
