-- Every day from the first fact to a year after the cycle, with the holidays of each country that has a location.
with bounds as (
    select
        coalesce(min(business_date), {{ cycle_date() }}) as first_day,
        {{ cycle_date() }} + 366 as last_day
    from {{ ref('fct_order_line') }}
),

days as (
    select cast(d.day as date) as date_day
    from bounds
    cross join unnest(generate_series(cast(first_day as timestamp), cast(last_day as timestamp), interval 1 day)) as d(day)
),

holidays as (
    select date_on, string_agg(country || ': ' || name, '; ' order by country, name) as holidays
    from {{ source('operations', 'holiday') }} group by all
)

select
    d.date_day,
    cast(year(d.date_day) as integer) as year,
    cast(quarter(d.date_day) as integer) as quarter,
    cast(month(d.date_day) as integer) as month,
    cast(isoyear(d.date_day) as integer) as iso_year,
    cast(week(d.date_day) as integer) as iso_week,
    cast(isodow(d.date_day) as integer) as iso_weekday,
    isodow(d.date_day) in (6, 7) as is_weekend,
    h.holidays
from days as d
left join holidays as h on h.date_on = d.date_day
