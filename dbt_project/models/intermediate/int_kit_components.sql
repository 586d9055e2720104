-- What one sold kit takes from stock, in base units of each component.
select distinct
    kit.key as kit_key,
    part.key as item_key,
    k.quantity
from {{ ref('stg_landing__kit_components') }} as k
inner join {{ source('operations', 'xref') }} as kit
    on kit.kind = 'item' and kit.source = k.source and kit.source_id = k.kit_code
inner join {{ source('operations', 'xref') }} as part
    on part.kind = 'item' and part.source = k.source and part.source_id = k.item_code
where k.superseded_load is null
qualify row_number() over (partition by kit.key, part.key order by k.source) = 1
