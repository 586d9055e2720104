-- How good issued forecasts were over the last four weeks and the four before, by model, category and week ahead; `all`
-- and week 0 stand for all of them. Median, quantiles and interval are judged on days fully in stock, the bias on all.
with by_item as (
    -- Once over the days; all groups are then made of these few rows.
    select
        model,
        item_key,
        lead_day,
        business_date >= {{ cycle_date() }} - 28 as is_recent,
        ran_out,
        count(*) as days,
        cast(sum(sales) as double) as sales,
        sum(error) as error,
        sum(absolute_error) as absolute_error,
        sum(pinball) as pinball,
        count(*) filter (within_80) as within_80
    from {{ ref('fct_forecast_accuracy') }}
    where business_date >= {{ cycle_date() }} - 56 and business_date < {{ cycle_date() }}
    group by all
),

scored as (
    select
        b.*,
        -- A category that calls itself `all` must not be taken for all of them.
        case when i.category = 'all' then 'all (category)' else coalesce(nullif(i.category, ''), 'none') end as category,
        least((b.lead_day - 1) // 7 + 1, 4) as horizon_week
    from by_item as b
    left join {{ ref('dim_item') }} as i using (item_key)
),

grouped as (
    select
        model,
        case when grouping(category) = 1 then 'all' else category end as category,
        cast(case when grouping(horizon_week) = 1 then 0 else horizon_week end as integer) as horizon_week,
        {% for name, part in [('', 'is_recent'), ('_before', 'not is_recent')] %}
        cast(coalesce(sum(days) filter ({{ part }}), 0) as bigint) as scored_days{{ name }},
        coalesce(sum(sales) filter ({{ part }}), 0) as sales{{ name }},
        {% for measure in ['absolute_error', 'pinball'] %}
        sum({{ measure }}) filter ({{ part }} and not ran_out)
            / nullif(sum(sales) filter ({{ part }} and not ran_out), 0)
            as {{ 'wape' if measure == 'absolute_error' else measure }}{{ name }},
        {% endfor %}
        sum(error) filter ({{ part }}) / nullif(sum(sales) filter ({{ part }}), 0) as bias{{ name }},
        sum(within_80) filter ({{ part }} and not ran_out) / sum(days) filter ({{ part }} and not ran_out) as coverage_80{{ name }},
        coalesce(sum(days) filter ({{ part }} and ran_out), 0) / sum(days) filter ({{ part }}) as ran_out_share{{ name }}{{ ',' if not loop.last }}
        {% endfor %}
    from scored
    group by model, grouping sets ((category, horizon_week), (category), (horizon_week), ())
)

-- Rounded, for sums of reals depend in their last digits on the order of rows, and what is the same is to look the same.
select
    model,
    category,
    horizon_week,
    {% for name in ['', '_before'] %}
    scored_days{{ name }},
    round(sales{{ name }}, 6) as sales{{ name }},
    {% for measure in ['wape', 'bias', 'pinball', 'coverage_80', 'ran_out_share'] %}
    round({{ measure ~ name }}, 6) as {{ measure ~ name }},
    {% endfor %}
    {% endfor %}
    round(wape - wape_before, 6) as wape_change
from grouped
