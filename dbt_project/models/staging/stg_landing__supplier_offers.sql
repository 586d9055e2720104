with source as (
    select * from {{ source('landing', 'supplier_offer') }}
),

renamed as (
    select
        -- ids
        source,
        record_id,
        supplier_code,
        item_code,

        -- values
        minimum_quantity,
        unit_price,
        currency,
        unit,
        pack_quantity,
        moq,

        -- timestamps
        source_updated_at,
        valid_from,
        valid_to,
        ingested_at,

        -- versions
        valid_load,
        superseded_load
    from source
)

select * from renamed
