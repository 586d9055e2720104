-- depends_on: {{ ref('stg_landing__return_lines') }}
-- depends_on: {{ source('landing', 'touched_code') }}
-- depends_on: {{ ref('int_exchange_rates__changed') }}
{{ config(materialized='incremental', incremental_strategy='delete+insert', unique_key='return_line_key') }}
select
    return_line_key,
    source,
    return_code,
    line_code,
    order_code,
    item_key,
    location_key,
    returned_at,
    business_date,
    quantity,
    unit,
    quantity_base,
    refund_amount,
    currency,
    refund_reporting_amount,
    is_restocked,
    customer_hash
from {{ ref('int_return_lines__resolved') }} as l
where superseded_load is null
{% if is_incremental() %}
    and (
        valid_load > {{ requested('since_load') }}
        or {{ rate_changed('l', 'returned_at') }}
        {% if codes_moved() %}
        or (source, item_code, location_code) in (
            select l.source, l.item_code, l.location_code
            from {{ ref('stg_landing__return_lines') }} as l
            inner join {{ source('landing', 'touched_code') }} as t
                on t.source = l.source
                and ((t.kind = 'item' and t.code = l.item_code) or (t.kind = 'location' and t.code = l.location_code))
        )
        {% endif %}
    )
{% endif %}
