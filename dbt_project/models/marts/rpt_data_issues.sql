-- What facts could not be understood and what they are worth: unmatched codes, missing conversions and rates.
select
    'item code matches no item' as issue,
    source,
    item_code as code,
    count(*) as lines,
    cast(sum(net_reporting_amount) as decimal(18, 4)) as reporting_amount
from {{ ref('int_order_lines__resolved') }}
where superseded_load is null and item_key = 'unmatched'
group by all
union all
select 'location code matches no location', source, location_code, count(*), cast(sum(net_reporting_amount) as decimal(18, 4))
from {{ ref('int_order_lines__resolved') }}
where superseded_load is null and location_key = 'unmatched'
group by all
union all
select 'no conversion from unit ' || unit || ' to the base unit', source, item_code, count(*),
    cast(sum(net_reporting_amount) as decimal(18, 4))
from {{ ref('int_order_lines__resolved') }}
where superseded_load is null and not has_conversion
group by all
union all
select 'no exchange rate', source, currency, count(*), null
from {{ ref('int_order_lines__resolved') }}
where superseded_load is null and net_reporting_amount is null
group by all
