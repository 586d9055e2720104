{# What this build was asked for, from the one row of landing.build_request. Read when a model runs rather than passed as
   variables, for a changed variable makes dbt parse the whole project again. #}

{% macro requested(column) -%}
    {%- if execute -%}
        {{ run_query('select ' ~ column ~ ' from landing.build_request').columns[0].values()[0] }}
    {%- endif -%}
{%- endmacro %}

{% macro cycle_date() -%} date '{{ requested("cycle_date") }}' {%- endmacro %}

{# Whether everything is built from the start: then nothing need be known of what changed. #}
{% macro is_anew() -%}
    {%- if requested("anew") == 'True' -%} true {%- else -%} false {%- endif -%}
{%- endmacro %}

{# Whether any code means something else since the last build; restating what is under one reads the whole history. #}
{% macro codes_moved() -%}
    {%- if execute and run_query('select count(*) from ' ~ source('landing', 'touched_code')).columns[0].values()[0] > 0 -%}
        true
    {%- endif -%}
{%- endmacro %}

{# The morning up to which the marts were built before; none on a first build. #}
{% macro built_to() -%}
    {%- set day = requested("built_to") -%}
    {%- if day and day != 'None' -%} {{ day }} {%- endif -%}
{%- endmacro %}
