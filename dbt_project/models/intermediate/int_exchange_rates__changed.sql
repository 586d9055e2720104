-- The currencies whose rates changed, and since which day.
with changed as (
    select unnest([from_currency, to_currency]) as currency, date_on
    from {{ ref('stg_landing__exchange_rates') }} as e
    where {{ changed('e') }} and not {{ is_anew() }}
)

select currency, min(date_on) as from_date
from changed
where currency <> '{{ requested("reporting_currency") }}'
group by all
