{# Deletes what an incremental build is about to restate, so that a key that is no more leaves no row behind. #}

{% macro delete_touched_days(touched) -%}
    {% if is_incremental() %}
    delete from {{ this }} as t using {{ touched }} as k
    where t.item_key = k.item_key and t.location_key = k.location_key and t.business_date = k.business_date
    {% endif %}
{%- endmacro %}

{% macro delete_touched_from(touched) -%}
    {% if is_incremental() %}
    delete from {{ this }} as t using {{ touched }} as k
    where t.item_key = k.item_key and t.location_key = k.location_key and t.business_date >= k.from_date
    {% endif %}
{%- endmacro %}

{% macro delete_touched_weeks(touched) -%}
    {% if is_incremental() %}
    delete from {{ this }} as t using {{ touched }} as k where t.item_key = k.item_key and t.week_on >= k.from_week
    {% endif %}
{%- endmacro %}

{# Rows of series that are no more, or of days before their first or after their last. #}
{% macro delete_outside(series, last_date=none) -%}
    {% if is_incremental() %}
    delete from {{ this }} as t where not exists (
        select 1 from {{ series }} as s
        where s.item_key = t.item_key and s.location_key = t.location_key and t.business_date >= s.first_date
            {% if last_date %} and t.business_date <= s.{{ last_date }} {% endif %}
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
