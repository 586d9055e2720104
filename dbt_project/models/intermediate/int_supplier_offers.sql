-- Price steps of every supplier's offers, in our keys, with the dates between which they hold.
select distinct
    party.key as party_key,
    item.key as item_key,
    o.valid_from,
    o.valid_to,
    o.minimum_quantity,
    o.unit_price,
    o.currency,
    o.unit,
    o.pack_quantity,
    o.moq
from {{ ref('stg_landing__supplier_offers') }} as o
inner join {{ source('operations', 'xref') }} as party
    on party.kind = 'party' and party.source = o.source and party.source_id = o.supplier_code
inner join {{ source('operations', 'xref') }} as item
    on item.kind = 'item' and item.source = o.source and item.source_id = o.item_code
where o.superseded_load is null
