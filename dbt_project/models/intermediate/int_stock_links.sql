-- depends_on: {{ ref('int_stock_value__touched') }}
{{ config(
    materialized='incremental', incremental_strategy='append',
    pre_hook="{{ delete_touched_from(ref('int_stock_value__touched')) }}"
) }}
-- What came in at the cost of what left elsewhere: transfers, from where their document left within the last 60 days, and
-- assembled kits, from their components. `quantity` came in; `sent_quantity` of `from_item_key` went into it.
with movements as (
    select
        source,
        kind,
        document_code,
        item_key,
        stock_location_key as location_key,
        business_date,
        sum(quantity_base) as quantity
    from {{ ref('int_stock_movements__resolved') }}
    where superseded_load is null and unit_cost is null
        and kind in ('transfer_in', 'transfer_out', 'production')
        and (
            kind = 'transfer_out' and moved_at >= {{ restated_since(ref('int_stock_value__touched')) }} - 62
            or {{ within_touched('moved_at', ref('int_stock_value__touched'), 'from_date', open_end=true) }}
        )
    group by all
),

transfers as (
    select
        i.item_key,
        i.location_key,
        i.business_date,
        i.quantity,
        i.item_key as from_item_key,
        o.location_key as from_location_key,
        o.business_date as sent_on,
        i.quantity as sent_quantity
    from movements as i
    inner join movements as o using (source, document_code, item_key)
    where i.kind = 'transfer_in' and i.quantity > 0 and o.kind = 'transfer_out' and o.location_key <> i.location_key
        and o.business_date between i.business_date - 60 and i.business_date
    qualify row_number() over (
        partition by i.source, i.document_code, i.item_key, i.location_key, i.business_date
        order by o.business_date desc, o.quantity, o.location_key
    ) = 1
),

assembled as (
    select
        m.item_key,
        m.location_key,
        m.business_date,
        -- The kit once, not once per component.
        case when row_number() over (
            partition by m.source, m.document_code, m.item_key, m.location_key, m.business_date order by k.item_key
        ) = 1 then m.quantity else 0 end as quantity,
        k.item_key as from_item_key,
        m.location_key as from_location_key,
        m.business_date as sent_on,
        m.quantity * k.quantity as sent_quantity
    from movements as m
    inner join {{ ref('int_kit_components') }} as k on k.kit_key = m.item_key
    where m.kind = 'production' and m.quantity > 0
),

links as (
    select * from transfers
    union all
    select * from assembled
)

select
    l.item_key,
    l.location_key,
    l.business_date,
    l.from_item_key,
    l.from_location_key,
    l.sent_on,
    sum(l.quantity) as quantity,
    sum(l.sent_quantity) as sent_quantity
from links as l
{% if is_incremental() %}
inner join {{ ref('int_stock_value__touched') }} as t
    on t.item_key = l.item_key and t.location_key = l.location_key and l.business_date >= t.from_date
{% endif %}
where l.item_key <> 'unmatched' and l.location_key <> 'unmatched' and l.business_date < {{ cycle_date() }}
group by all
