-- What facts could not be understood and what they are worth: unmatched codes, missing conversions and rates.
select
    'item code matches no item' as issue,
    source,
    item_code as code,
    count(*) as lines,
    cast(sum(net_reporting_amount) as decimal(18, 4)) as reporting_amount
from {{ ref('fct_order_line') }}
where item_key = 'unmatched'
group by all
union all
select 'location code matches no location', source, location_code, count(*), cast(sum(net_reporting_amount) as decimal(18, 4))
from {{ ref('fct_order_line') }}
where location_key = 'unmatched'
group by all
union all
select 'no conversion from unit ' || unit || ' to the base unit', source, item_code, count(*),
    cast(sum(net_reporting_amount) as decimal(18, 4))
from {{ ref('fct_order_line') }}
where not has_conversion
group by all
union all
select 'no exchange rate', source, currency, count(*), null
from {{ ref('fct_order_line') }}
where net_reporting_amount is null
group by all
