-- numerator / denominator base units make one unit; every base unit is one of itself.
with declared as (
    select
        x.key as item_key,
        u.unit,
        u.numerator,
        u.denominator
    from {{ ref('stg_landing__item_units') }} as u
    inner join {{ source('operations', 'xref') }} as x
        on x.kind = 'item' and x.source = u.source and x.source_id = u.item_code
    left join {{ source('operations', 'source') }} as s on s.source = u.source
    where u.superseded_load is null
    qualify row_number() over (partition by x.key, u.unit order by s.priority nulls last, u.source) = 1
),

base as (
    select
        item_key,
        base_unit as unit,
        1 as numerator,
        1 as denominator
    from {{ ref('int_items') }}
)

select * from base
union all
select d.* from declared as d
anti join base using (item_key, unit)
