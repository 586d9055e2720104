{# What every kind of line is given alike: our keys, its business date, base units, and the rate of its day. #}

{# The CTE `dated`: every version of `lines`, with the keys that its codes meant at the instant `at`, the business date at
   its location, and the conversion from its unit. #}
{% macro dated_lines(lines, at, has_party=false) -%}
with keyed as (
    select
        l.*,
        {% if has_party -%}
        coalesce(party.key, 'unmatched') as party_key,
        {% endif -%}
        coalesce(item.key, 'unmatched') as item_key,
        coalesce(place.key, 'unmatched') as location_key
    from {{ ref(lines) }} as l
    {{ resolve('item', 'l', 'item_code', 'cast(l.' ~ at ~ ' as date)', 'item') }}
    {{ resolve('location', 'l', 'location_code', 'cast(l.' ~ at ~ ' as date)', 'place') }}
    {% if has_party -%}
    {{ resolve('party', 'l', 'supplier_code', 'cast(l.' ~ at ~ ' as date)', 'party') }}
    {%- endif %}
),

dated as (
    select
        k.*,
        {{ business_date('k.' ~ at, 'loc') }} as business_date,
        loc.stock_location_key,
        unit.numerator,
        unit.denominator
    from keyed as k
    left join {{ ref('int_locations') }} as loc using (location_key)
    left join {{ ref('int_item_units') }} as unit on unit.item_key = k.item_key and unit.unit = k.unit
)
{%- endmacro %}

{# The first columns of a line `l` of `dated`. A code without a location, or a unit without a conversion, keeps its line:
   it counts as base units by the date of UTC, and is listed in rpt_data_issues. #}
{% macro resolved_columns(key, at, quantity='quantity') -%}
    md5(l.source || chr(31) || l.record_id) as {{ key }},
    l.source,
    l.item_key,
    l.location_key,
    coalesce(l.stock_location_key, l.location_key) as stock_location_key,
    coalesce(l.business_date, cast(l.{{ at }} as date)) as business_date,
    cast(l.{{ quantity }} * coalesce(l.numerator, 1) / coalesce(l.denominator, 1) as decimal(18, 6)) as quantity_base,
    l.numerator is not null or l.item_key = 'unmatched' as has_conversion
{%- endmacro %}

{# The newest rate on or before the business date of `l`, as `rate`. #}
{% macro with_rate() -%}
    asof left join {{ ref('int_exchange_rates') }} as rate
        on rate.currency = l.currency and l.business_date >= rate.date_on
{%- endmacro %}
