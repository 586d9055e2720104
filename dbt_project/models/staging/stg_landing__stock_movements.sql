with source as (
    select * from {{ source('landing', 'stock_movement') }}
),

renamed as (
    select
        -- ids
        source,
        record_id,
        movement_code,
        location_code,
        item_code,
        document_code,

        -- values
        kind,
        quantity,
        unit,
        unit_cost,
        currency,

        -- timestamps
        source_updated_at,
        moved_at,
        expires_on,
        ingested_at,

        -- versions
        valid_load,
        superseded_load
    from source
)

select * from renamed
