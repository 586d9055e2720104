-- depends_on: {{ ref('stg_landing__return_lines') }}
-- depends_on: {{ source('landing', 'touched_code') }}
{{ config(materialized='incremental', incremental_strategy='delete+insert', unique_key='return_line_key') }}
-- Two branches, because a condition on what landed can be checked before anything is joined, and one on keys cannot.
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
from {{ ref('int_return_lines__resolved') }}
where superseded_load is null
{% if is_incremental() %}
    and valid_load > {{ requested('since_load') }}
{% if codes_moved() %}
union all
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
    and valid_load <= {{ requested('since_load') }}
    and (source, item_code, location_code) in (
        select l.source, l.item_code, l.location_code
        from {{ ref('stg_landing__return_lines') }} as l
        inner join {{ source('landing', 'touched_code') }} as t
            on t.source = l.source
            and ((t.kind = 'item' and t.code = l.item_code) or (t.kind = 'location' and t.code = l.location_code))
    )
{% endif %}
{% endif %}
