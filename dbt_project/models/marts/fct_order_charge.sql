-- Money on sales documents that is no item: postage, discounts, fees. Revenue together with fct_order_line; never demand.
with keyed as (
    select c.*, coalesce(place.key, 'unmatched') as location_key
    from {{ ref('stg_landing__order_charges') }} as c
    {{ resolve('location', 'c', 'location_code', 'cast(c.charged_at as date)', 'place') }}
    where c.superseded_load is null
),

dated as (
    select
        k.*,
        coalesce({{ business_date('k.charged_at', 'loc') }}, cast(k.charged_at as date)) as business_date
    from keyed as k
    left join {{ ref('int_locations') }} as loc using (location_key)
)

select
    md5(d.source || chr(31) || d.record_id) as order_charge_key,
    d.source,
    d.order_code,
    d.line_code,
    d.location_key,
    d.kind,
    d.description,
    d.business_date,
    d.amount,
    d.currency,
    {{ to_reporting('d.amount', 'd.currency', 'rate.rate') }} as reporting_amount
from dated as d
asof left join {{ ref('int_exchange_rates') }} as rate
    on rate.currency = d.currency and d.business_date >= rate.date_on
