-- Stock that cannot be or does not agree with what a system states, with the likeliest reason; nothing is hidden.
with latest as (
    -- Every series has a row for the last day.
    select i.*, v.unit_cost is null and i.closing <> 0 as has_no_cost
    from {{ ref('fct_inventory_daily') }} as i
    left join {{ ref('fct_inventory_value_daily') }} as v using (item_key, location_key, business_date)
    where i.business_date = {{ cycle_date() }} - 1
)

select
    item_key,
    location_key,
    business_date,
    closing,
    stated_on_hand,
    difference,
    case
        when not is_known then 'no opening balance or stock level was ever given'
        when closing < 0 then 'more left than ever came in: a receipt, transfer or opening balance is missing'
        when coalesce(difference, 0) = 0 then 'no receipt, price or offer says what it cost: it has no value'
        else 'the stated balance differs from the movements: count the stock'
    end as reason
from latest
where closing < 0 or not is_known or coalesce(difference, 0) <> 0 or has_no_cost
