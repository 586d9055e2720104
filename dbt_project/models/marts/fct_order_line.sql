-- depends_on: {{ ref('stg_landing__order_lines') }}
-- depends_on: {{ source('landing', 'touched_code') }}
-- depends_on: {{ ref('int_exchange_rates__changed') }}
{{ config(materialized='incremental', incremental_strategy='delete+insert', unique_key='order_line_key') }}
select
    order_line_key,
    source,
    order_code,
    line_code,
    item_key,
    item_code,
    location_key,
    location_code,
    has_conversion,
    channel,
    status,
    ordered_at,
    business_date,
    quantity,
    unit,
    quantity_base,
    unit_price,
    discount_amount,
    tax_amount,
    line_amount,
    gross_amount,
    currency,
    net_reporting_amount,
    customer_hash
from {{ ref('int_order_lines__resolved') }} as l
where superseded_load is null
{% if is_incremental() %}
    and (
        valid_load > {{ requested('since_load') }}
        or {{ rate_changed('l', 'ordered_at') }}
        {% if codes_moved() %}
        or (source, item_code, location_code) in (
            select l.source, l.item_code, l.location_code
            from {{ ref('stg_landing__order_lines') }} as l
            inner join {{ source('landing', 'touched_code') }} as t
                on t.source = l.source
                and ((t.kind = 'item' and t.code = l.item_code) or (t.kind = 'location' and t.code = l.location_code))
        )
        {% endif %}
    )
{% endif %}
