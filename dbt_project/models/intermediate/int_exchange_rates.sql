-- Units of the reporting currency for one unit of `currency`, from rates stated in either direction.
with stated as (
    select * from {{ ref('stg_landing__exchange_rates') }} where superseded_load is null
),

both_ways as (
    select from_currency as currency, date_on, cast(rate as double) as rate, 1 as preference
    from stated where to_currency = '{{ requested("reporting_currency") }}'
    union all
    select to_currency, date_on, 1 / cast(rate as double), 2
    from stated where from_currency = '{{ requested("reporting_currency") }}'
)

select currency, date_on, rate
from both_ways
qualify row_number() over (partition by currency, date_on order by preference, rate) = 1
