{# A quantity at a unit cost, as money. #}
{% macro at_cost(quantity, unit_cost) -%}
    cast(round(cast({{ quantity }} as double) * {{ unit_cost }}, 4) as decimal(18, 4))
{%- endmacro %}
