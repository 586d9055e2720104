{# `touched`: of a ledger, the series that this build restates. #}
{% test unique_combination(model, columns, touched=none) %}
select {{ columns | join(', ') }} from {{ model }}
{% if touched %} where business_date >= {{ restated_since(touched) }} {% endif %}
group by all having count(*) > 1
{% endtest %}
