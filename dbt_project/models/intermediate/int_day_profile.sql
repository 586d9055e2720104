-- What part of a usual day each location has sold by when: one row per location, month and weekday (ISO), learned from the
-- lines of the months before it (`profile_months`). Of a month that has begun nothing changes it any more but late facts, so that
-- what shares were weighed by can be told again, and a past morning is told nothing that came later.
{% set least_lines, even_lines, gone_wrong = 30, 40, 0.0005 %}
with monthly as (
    select location_key, cast(date_trunc('month', business_date) as date) as month_on, isodow(business_date) as weekday, quarter,
        sum(lines) as lines
    from {{ ref('int_sales_by_time') }}
    group by all
),

learned as (
    select m.location_key, cast(m.month_on + to_months(ahead.months) as date) as month_on, m.weekday, m.quarter, sum(m.lines) as lines
    from monthly as m
    cross join unnest(generate_series(1, {{ profile_months() }})) as ahead(months)
    where m.month_on + to_months(ahead.months) < {{ cycle_date() }}
    group by all
),

-- Where most lines have one time it is that of a closing or an export, not of customers.
timed as (
    select location_key, month_on from (
        select location_key, month_on, quarter, sum(lines) as lines from learned group by all
    )
    group by all having max(lines) <= sum(lines) / 2
),

summed as (
    select
        l.*,
        sum(lines) over a_day as by_end,
        sum(lines) over (partition by location_key, month_on, weekday) as total
    from learned as l
    semi join timed using (location_key, month_on)
    window a_day as (partition by location_key, month_on, weekday order by quarter)
),

-- From the first quarter of an hour in which more is sold than by a clock gone wrong to the last one.
opening as (
    select location_key, month_on, weekday, any_value(total) as total,
        min(quarter) filter (by_end > {{ gone_wrong }} * total) as opens,
        max(quarter) filter (by_end - lines < (1 - {{ gone_wrong }}) * total) + 1 as closes
    from summed
    group by all having any_value(total) >= {{ least_lines }}
),

ends as (
    select o.*, unnest(generate_series(o.opens, o.closes)) as at_quarter from opening as o
),

-- A quarter of an hour without lines ends with what was sold by the one before it; the first one has some.
sold as (
    select e.*, max(s.by_end) over (partition by e.location_key, e.month_on, e.weekday order by e.at_quarter) as by_end
    from ends as e
    left join summed as s
        on s.location_key = e.location_key and s.month_on = e.month_on and s.weekday = e.weekday and s.quarter = e.at_quarter - 1
)

select
    location_key,
    month_on,
    weekday,
    opens,
    -- By the end of each quarter of an hour from the opening (0) to the closing (1); drawn to an even day by {{ even_lines }} lines,
    -- so that a few customers do not make a profile.
    list(
        (case when at_quarter = opens then 0 when at_quarter = closes then total else by_end end
            + {{ even_lines }} * (at_quarter - opens) / (closes - opens)) / (total + {{ even_lines }})
        order by at_quarter
    ) as sold_by
from sold
group by location_key, month_on, weekday, opens
