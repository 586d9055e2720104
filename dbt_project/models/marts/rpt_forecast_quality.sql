-- How good issued forecasts were over the last four weeks and the four before, by model, category and week ahead; `all`
-- and week 0 stand for all of them. Median, quantiles and interval are judged on days fully in stock, the bias on all.
with scored as (
    select
        a.model,
        coalesce(nullif(i.category, ''), 'none') as category,
        least((a.lead_day - 1) // 7 + 1, 4) as horizon_week,
        a.business_date >= {{ cycle_date() }} - 28 as is_recent,
        a.ran_out,
        cast(a.sales as double) as sales,
        a.error,
        a.absolute_error,
        a.pinball,
        a.within_80
    from {{ ref('fct_forecast_accuracy') }} as a
    left join {{ ref('dim_item') }} as i using (item_key)
    where a.business_date >= {{ cycle_date() }} - 56 and a.business_date < {{ cycle_date() }}
),

grouped as (
    select
        model,
        case when grouping(category) = 1 then 'all' else category end as category,
        cast(case when grouping(horizon_week) = 1 then 0 else horizon_week end as integer) as horizon_week,
        {% for name, part in [('', 'is_recent'), ('_before', 'not is_recent')] %}
        count(*) filter ({{ part }}) as scored_days{{ name }},
        coalesce(sum(sales) filter ({{ part }}), 0) as sales{{ name }},
        sum(absolute_error) filter ({{ part }} and not ran_out)
            / nullif(sum(sales) filter ({{ part }} and not ran_out), 0) as wape{{ name }},
        sum(error) filter ({{ part }}) / nullif(sum(sales) filter ({{ part }}), 0) as bias{{ name }},
        sum(pinball) filter ({{ part }} and not ran_out)
            / nullif(sum(sales) filter ({{ part }} and not ran_out), 0) as pinball{{ name }},
        avg(cast(within_80 as integer)) filter ({{ part }} and not ran_out) as coverage_80{{ name }},
        avg(cast(ran_out as integer)) filter ({{ part }}) as ran_out_share{{ name }}{{ ',' if not loop.last }}
        {% endfor %}
    from scored
    group by model, grouping sets ((category, horizon_week), (category), (horizon_week), ())
)

select *, wape - wape_before as wape_change from grouped
