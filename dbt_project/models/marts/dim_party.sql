-- Everybody we buy from, described by the most believed source that describes them.
with keys as (
    select distinct key as party_key from {{ source('operations', 'xref') }} where kind = 'party'
),

described as (
    select x.key as party_key, p.*
    from {{ ref('stg_landing__suppliers') }} as p
    inner join {{ source('operations', 'xref') }} as x
        on x.kind = 'party' and x.source = p.source and x.source_id = p.supplier_code
    left join {{ source('operations', 'source') }} as s on s.source = p.source
    where p.superseded_load is null
    qualify row_number() over (partition by x.key order by s.priority nulls last, p.source, p.supplier_code) = 1
)

select
    k.party_key,
    d.supplier_code as party_code,
    coalesce(d.name, k.party_key) as name,
    'supplier' as kind,
    d.currency,
    coalesce(d.payment_terms_days, 0) as payment_terms_days,
    d.lead_time_days,
    d.lead_time_sd_days,
    coalesce(d.order_weekdays, '') as order_weekdays,
    coalesce(d.minimum_order_amount, 0) as minimum_order_amount
from keys as k
left join described as d using (party_key)
union all
select 'unmatched', null, 'Codes that match no party', 'supplier', null, 0, null, null, '', 0
