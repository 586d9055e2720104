{# Deletes what an incremental build is about to restate, so that a key that is no more leaves no row behind. #}

{% macro delete_touched_days(touched) -%}
    {% if is_incremental() %}
    delete from {{ this }} as t using {{ touched }} as k
    where t.item_key = k.item_key and t.location_key = k.location_key and t.business_date = k.business_date
    {% endif %}
{%- endmacro %}

{# Days of a location, whatever of it was touched. #}
{% macro delete_touched_places(touched) -%}
    {% if is_incremental() %}
    delete from {{ this }} as t using {{ touched }} as k
    where t.location_key = k.location_key and t.business_date = k.business_date
    {% endif %}
{%- endmacro %}

{% macro delete_touched_from(touched) -%}
    {% if is_incremental() %}
    delete from {{ this }} as t using {{ touched }} as k
    where t.item_key = k.item_key and t.location_key = k.location_key and t.business_date >= k.from_date
        and t.business_date >= {{ restated_since(touched) }}
    {% endif %}
{%- endmacro %}

{# The days that a build that failed has left behind the last one that did not. #}
{% macro delete_days_since() -%}
    {% if is_incremental() %} delete from {{ this }} where business_date >= date '{{ built_to() }}' {% endif %}
{%- endmacro %}

{# The first day of which anything is restated or new, as a date that can be checked before anything is joined. Tests of
   what was there before it have been passed already. #}
{% macro restated_since(touched) -%}
    {%- if execute and (is_incremental() or model.resource_type == 'test') and built_to() -%}
        {%- set first = run_query('select min(from_date)::varchar from ' ~ touched).columns[0].values()[0] -%}
        date '{{ [first or built_to(), built_to()] | min }}'
    {%- else -%} date '0001-01-01'
    {%- endif -%}
{%- endmacro %}

{# A ledger goes on from what it has: `series` with the day from which each is to be written, and `before`, what this table
   says of the evening before; none where the series begins. #}
{% macro going_on(series, touched, before) -%}
    {%- if is_incremental() -%}
    select s.*, coalesce(b.business_date + 1, s.first_date) as from_date, b.{{ before }} as before
    from {{ series }} as s
    left join {{ touched }} as t using (item_key, location_key)
    left join {{ this }} as b
        on b.item_key = s.item_key and b.location_key = s.location_key
        and b.business_date = least(t.from_date, date '{{ built_to() }}') - 1
        and b.business_date >= {{ restated_since(touched) }} - 1
    {%- else -%}
    select *, first_date as from_date, null as before from {{ series }}
    {%- endif -%}
{%- endmacro %}

{% macro delete_touched_weeks(touched) -%}
    {% if is_incremental() %}
    delete from {{ this }} as t using {{ touched }} as k where t.item_key = k.item_key and t.week_on >= k.from_week
    {% endif %}
{%- endmacro %}

{# Rows of series that are no more, or of days before their first or after their last. #}
{% macro delete_outside(series) -%}
    {% if is_incremental() %}
    delete from {{ this }} as t where not exists (
        select 1 from {{ series }} as s
        where s.item_key = t.item_key and s.location_key = t.location_key and t.business_date >= s.first_date
            and t.business_date <= s.last_date
    )
    {% endif %}
{%- endmacro %}

{# The first and last day among the keys to restate, widened by what a time zone can shift, as a filter on a raw column
   that can be checked before anything is joined. Nothing to restate: nothing passes. #}
{% macro within_touched(column, touched, day='business_date', open_end=false) -%}
    {%- if is_incremental() and execute -%}
        {%- set bounds = run_query('select min(' ~ day ~ ')::varchar, max(' ~ day ~ ')::varchar from ' ~ touched) -%}
        {%- set first, last = bounds.columns[0].values()[0], bounds.columns[1].values()[0] -%}
        {%- if first is none -%} false
        {%- elif first < '0100' -%} true
        {%- elif open_end -%} {{ column }} >= date '{{ first }}' - 2
        {%- else -%} {{ column }} >= date '{{ first }}' - 2 and {{ column }} < date '{{ last }}' + 3
        {%- endif -%}
    {%- else -%} true
    {%- endif -%}
{%- endmacro %}

{# Rows of `fct_forecast_accuracy` that are scored anew: of days whose demand is restated or weighed anew, of mornings that
   were loaded since the last build, and of mornings that are scored no more. #}
{% macro delete_rescored(touched) -%}
    {% if is_incremental() %}
    delete from {{ this }} as t where {{ within_touched('t.business_date', touched) }} and exists (
        select 1 from {{ touched }} as k
        where k.item_key = t.item_key and k.location_key = t.location_key and k.business_date = t.business_date
    ) or t.cycle_date not in (select cycle_date from planning.issued_cycle where not is_new)
    {% endif %}
{%- endmacro %}

{# As `delete_outside`, for series by their stock location: days before any of its shops sold, or after the last. #}
{% macro delete_outside_stocked(series) -%}
    {% if is_incremental() %}
    delete from {{ this }} as t where not exists (
        select 1 from {{ series }} as s
        where s.item_key = t.item_key and s.stock_location_key = t.location_key
            and t.business_date >= s.first_date and t.business_date <= s.last_date
    )
    {% endif %}
{%- endmacro %}

{# The days on which anything is to be scored, as a filter that can be checked before anything is joined. #}
{% macro to_score(column) -%}
    {{ column }} < {{ cycle_date() }}
    {%- if is_incremental() and execute %} and ({{ within_touched(column, ref('int_demand__weighed')) }}
        {%- set first = run_query('select min(cycle_date)::varchar from planning.issued_cycle where is_new').columns[0].values()[0] -%}
        {%- if first is not none %} or {{ column }} >= date '{{ first }}' {%- endif %})
    {%- else %} and {{ column }} >= (select coalesce(min(cycle_date), date '9999-12-31') from planning.issued_cycle)
    {%- endif %}
{%- endmacro %}

{# The months after that of the first day to restate, as a filter that can be checked before anything is joined. #}
{% macro in_later_months(column, touched) -%}
    {%- if execute -%}
        {%- set first = run_query("select cast(date_trunc('month', min(business_date)) + interval 1 month as date)::varchar from " ~ touched) -%}
        {%- set month = first.columns[0].values()[0] -%}
        {%- if month is none -%} false {%- else -%} {{ column }} >= date '{{ month }}' {%- endif -%}
    {%- else -%} true
    {%- endif -%}
{%- endmacro %}
