{# Joins that turn a source's codes into our keys. `at` is the date at which the code is to be understood. #}

{% macro resolve(kind, alias, code, at, name) -%}
    left join {{ source('operations', 'xref') }} as {{ name }}
        on {{ name }}.kind = '{{ kind }}'
        and {{ name }}.source = {{ alias }}.source
        and {{ name }}.source_id = {{ alias }}.{{ code }}
        and {{ at }} >= coalesce({{ name }}.valid_from, date '0001-01-01')
        and {{ at }} < coalesce({{ name }}.valid_to, date '9999-12-31')
{%- endmacro %}

{# The business date of an instant: local time, less the hour at which the location's business day starts. #}
{% macro business_date(instant, location) -%}
    cast(timezone({{ location }}.timezone, {{ instant }}) - to_minutes({{ location }}.business_day_start) as date)
{%- endmacro %}

{# The minute of a location's business day, on its own clock and counted from where the day starts; none at midnight sharp,
   which says that only the date is known. #}
{% macro business_minute(instant, location) -%}
    case
        when cast(timezone({{ location }}.timezone, {{ instant }}) as time) <> time '00:00'
            and cast(timezone('UTC', {{ instant }}) as time) <> time '00:00'
        then cast(epoch(cast(
            timezone({{ location }}.timezone, {{ instant }}) - to_minutes({{ location }}.business_day_start) as time
        )) // 60 as integer)
    end
{%- endmacro %}

{# Of how many months before it the profile of a month's days is learned. #}
{% macro profile_months() -%} 3 {%- endmacro %}

{# What a load changed: versions that came or were replaced since the previous build. #}
{% macro changed(alias) -%}
    ({{ alias }}.valid_load > {{ requested('since_load') }} or {{ alias }}.superseded_load > {{ requested('since_load') }})
{%- endmacro %}

{# What this build has to bring into the ledger: what changed, and what had landed before its day was over. `at` is the raw
   instant of the line, which can be checked before anything is joined. #}
{% macro changed_or_due(alias, at) -%}
    {%- if built_to() -%}
    -- Two conditions, for the first can be checked before anything is joined.
    ({{ changed(alias) }} or {{ alias }}.{{ at }} >= date '{{ built_to() }}' - 2)
    and (
        {{ changed(alias) }}
        or ({{ alias }}.business_date >= date '{{ built_to() }}' and {{ alias }}.business_date < {{ cycle_date() }})
    )
    {%- else -%} {{ changed(alias) }}
    {%- endif -%}
{%- endmacro %}

{# Lines whose amounts another rate applies to, as a filter on raw columns. Some of the two days before it pass as well, for
   a time zone shifts no more than that. #}
{% macro rate_changed(alias, at) -%}
    (false
    {%- if execute %}
    {%- for row in run_query('select currency, from_date::varchar from ' ~ ref('int_exchange_rates__changed')).rows %}
        or ({{ alias }}.currency = '{{ row[0] }}' and {{ alias }}.{{ at }} >= date '{{ row[1] }}' - 2)
    {%- endfor %}
    {%- endif %})
{%- endmacro %}

{# Amounts in the reporting currency, at the newest rate on or before the day; NULL where no rate is known. #}
{% macro to_reporting(amount, currency, rate) -%}
    cast(round({{ amount }} * (case when {{ currency }} = '{{ requested("reporting_currency") }}' then 1 else {{ rate }} end), 4)
        as decimal(18, 4))
{%- endmacro %}
