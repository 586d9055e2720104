-- What a series' stock costs until anything came in at a known price: what the item cost when it was first received
-- anywhere, else what the cheapest offer asked on the first day on which any was valid.
with receipts as (
    select item_key, business_date, sum(cost) / sum(cast(quantity_base as double)) as unit_cost
    from {{ ref('int_receipt_costs') }}
    where superseded_load is null and cost is not null and business_date < {{ cycle_date() }}
    group by all
),

first_received as (
    select item_key, min(business_date) as received_on, arg_min(unit_cost, business_date) as unit_cost from receipts group by all
),

-- The step that the smallest order pays, by supplier and dates.
offers as (
    select o.*, o.unit_price * unit.denominator / unit.numerator as price
    from {{ ref('int_supplier_offers') }} as o
    inner join {{ ref('int_item_units') }} as unit using (item_key, unit)
    qualify row_number() over (
        partition by o.party_key, o.item_key, o.valid_from, o.valid_to order by o.minimum_quantity, o.unit_price
    ) = 1
),

rated as (
    select currency, min(date_on) as date_on from {{ ref('int_exchange_rates') }} group by all
),

offered as (
    select
        s.item_key,
        s.location_key,
        o.currency,
        o.price,
        greatest(s.first_date, o.valid_from, case
            when o.currency = '{{ requested("reporting_currency") }}' then s.first_date else rated.date_on
        end) as business_date
    from {{ ref('int_stock__series') }} as s
    inner join offers as o using (item_key)
    left join rated on rated.currency = o.currency
    where s.first_date <= coalesce(o.valid_to, date '9999-12-31')
        and (o.currency = '{{ requested("reporting_currency") }}' or rated.date_on <= coalesce(o.valid_to, date '9999-12-31'))
),

first_offered as (
    select
        l.item_key,
        l.location_key,
        l.business_date,
        cast(l.price as double) * (case when l.currency = '{{ requested("reporting_currency") }}' then 1 else rate.rate end) as unit_cost
    from offered as l
    {{ with_rate() }}
    qualify row_number() over (partition by l.item_key, l.location_key order by l.business_date, unit_cost) = 1
)

select
    s.item_key,
    s.location_key,
    r.received_on,
    round(coalesce(r.unit_cost, o.unit_cost), 8) as unit_cost,
    case when r.unit_cost is not null then s.first_date else o.business_date end as known_from,
    case when r.unit_cost is not null then 'first_receipt' when o.unit_cost is not null then 'offer' end as cost_basis
from {{ ref('int_stock__series') }} as s
left join first_received as r using (item_key)
left join first_offered as o using (item_key, location_key)
