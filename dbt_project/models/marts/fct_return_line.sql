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
        or exists (
            select 1 from {{ source('landing', 'touched_code') }} as t
            where t.source = l.source
                and ((t.kind = 'item' and t.code = l.item_code) or (t.kind = 'location' and t.code = l.location_code))
        )
    )
{% endif %}
