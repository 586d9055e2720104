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
