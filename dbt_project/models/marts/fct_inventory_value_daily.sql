-- depends_on: {{ ref('int_stock_value__touched') }}
{{ config(
    materialized='incremental', incremental_strategy='append',
    pre_hook=["{{ delete_touched_from(ref('int_stock_value__touched')) }}", "{{ delete_days_since() }}"]
) }}
-- The ledger in money, at moving average cost: for every row of fct_inventory_daily what it was worth and what moved.
-- What came in at a known price counts at that price and everything else at the average of the day; what the two do not
-- explain is revaluation.
with series as (
    {{ going_on(ref('int_stock__series'), ref('int_stock_value__touched'), 'closing_value') }}
),

due as (
    select s.*, f.unit_cost as first_cost, f.known_from, f.cost_basis as first_basis
    from series as s
    inner join {{ ref('int_stock__first_cost') }} as f using (item_key, location_key)
),

ledger as (
    select
        i.*,
        d.first_cost,
        d.known_from,
        d.first_basis,
        d.before,
        i.business_date = d.first_date as is_first,
        i.business_date = d.from_date as is_resumed
    from {{ ref('fct_inventory_daily') }} as i
    inner join due as d using (item_key, location_key)
    where i.business_date >= d.from_date and i.business_date >= {{ restated_since(ref('int_stock_value__touched')) }}
),

known as (
    select
        item_key,
        location_key,
        business_date,
        {% for kind in ['opening', 'receipts', 'transfer_in', 'adjustment', 'production'] -%}
        coalesce(sum(quantity) filter (kind = '{{ kind }}'), 0) as {{ kind }}_quantity,
        coalesce(sum(cost) filter (kind = '{{ kind }}'), 0) as {{ kind }}_cost{{ '' if loop.last else ',' }}
        {% endfor %}
    from {{ ref('int_stock_inflows') }}
    where business_date >= {{ restated_since(ref('int_stock_value__touched')) }}
    group by all
),

costed as (
    select
        l.*,
        coalesce(c.unit_cost, case when l.business_date >= l.known_from then l.first_cost end) as unit_cost,
        case
            when c.is_average then 'average'
            when l.business_date >= l.known_from then l.first_basis
            else 'unknown'
        end as cost_basis,
        c.business_date = l.business_date as is_step,
        c.sent_cost,
        c.transfers_quantity,
        c.transfers_cost,
        c.production_quantity,
        c.production_cost
    from ledger as l
    asof left join {{ ref('int_stock_costs') }} as c
        on c.item_key = l.item_key and c.location_key = l.location_key and l.business_date >= c.business_date
),

movements as (
    select * from {{ ref('int_stock_movements__daily') }}
    where business_date >= {{ restated_since(ref('int_stock_value__touched')) }}
),

-- Quantities by the cost at which they come in or leave.
moved as (
    select
        c.* exclude (sent_cost),
        -- What is sent on leaves before what others sent arrives.
        case when c.is_step then c.sent_cost else c.unit_cost end as sent_cost,
        coalesce(m.opening, 0) as entered,
        -- A ledger that a statement opened begins with what was there, before anything of the day came in.
        case when c.is_first then c.opening - coalesce(m.opening, 0) else 0 end as begun,
        coalesce(case when c.opening > coalesce(m.opening, 0) and c.business_date >= c.known_from then c.first_cost end, c.unit_cost) as begun_cost,
        coalesce(m.transfers_out, 0) as transferred_out,
        coalesce(m.consumption, 0) as consumed,
        case when c.is_step then c.transfers_quantity else 0 end + coalesce(k.transfer_in_quantity, 0) as known_transfers,
        case when c.is_step then c.transfers_cost else 0 end + coalesce(k.transfer_in_cost, 0) as known_transfers_cost,
        case when c.is_step then c.production_quantity else 0 end + coalesce(k.production_quantity, 0) as known_production,
        case when c.is_step then c.production_cost else 0 end + coalesce(k.production_cost, 0) as known_production_cost,
        coalesce(k.opening_quantity, 0) as known_entered,
        coalesce(k.opening_cost, 0) as known_entered_cost,
        coalesce(k.receipts_quantity, 0) as known_receipts,
        coalesce(k.receipts_cost, 0) as known_receipts_cost,
        coalesce(k.adjustment_quantity, 0) as known_adjustments,
        coalesce(k.adjustment_cost, 0) as known_adjustments_cost
    from costed as c
    left join movements as m using (item_key, location_key, business_date)
    left join known as k using (item_key, location_key, business_date)
),

valued as (
    select
        *,
        known_entered_cost + {{ at_cost('entered - known_entered', 'unit_cost') }} + {{ at_cost('begun', 'begun_cost') }}
            as entered_value,
        known_receipts_cost + {{ at_cost('receipts - known_receipts', 'unit_cost') }} as receipts_value,
        {{ at_cost('returns', 'unit_cost') }} as returns_value,
        cast(known_transfers_cost as decimal(18, 4))
            + {{ at_cost('transfers - transferred_out - known_transfers', 'unit_cost') }} as transfers_in_value,
        {{ at_cost('transferred_out', 'sent_cost') }} as transfers_out_value,
        cast(known_production_cost as decimal(18, 4)) + {{ at_cost('production - consumed - known_production', 'unit_cost') }}
            + {{ at_cost('consumed', 'sent_cost') }} as production_value,
        known_adjustments_cost + {{ at_cost('adjustments - known_adjustments', 'unit_cost') }} as adjustments_value,
        {{ at_cost('write_offs', 'unit_cost') }} as write_offs_value,
        {{ at_cost('-sales', 'unit_cost') }} as cost_of_goods_sold,
        {{ at_cost('closing', 'unit_cost') }} as closing_value
    from moved
),

chained as (
    select
        *,
        case when is_resumed then before else lag(closing_value) over series end as opening_value
    from valued
    window series as (partition by item_key, location_key order by business_date)
)

select
    item_key,
    location_key,
    business_date,
    '{{ requested("reporting_currency") }}' as currency,
    closing,
    cast(unit_cost as decimal(18, 8)) as unit_cost,
    cost_basis,
    {% set parts = [
        'entered_value', 'receipts_value', 'returns_value', 'transfers_in_value', 'transfers_out_value', 'production_value',
        'adjustments_value', 'write_offs_value',
    ] -%}
    -- Nothing is worth nothing, also where nothing is known of the cost.
    cast(case when is_first then 0 else opening_value end as decimal(18, 4)) as opening_value,
    {% for part in parts -%}
    cast({{ part }} as decimal(18, 4)) as {{ part }},
    {% endfor -%}
    cost_of_goods_sold,
    cast(closing_value - coalesce(opening_value, 0) - {{ parts | join(' - ') }} + cost_of_goods_sold as decimal(18, 4)) as revaluation,
    closing_value
from chained
