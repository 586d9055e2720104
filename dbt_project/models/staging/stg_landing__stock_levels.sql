with source as (
    select * from {{ source('landing', 'stock_level') }}
),

renamed as (
    select
        -- ids
        source,
        record_id,
        location_code,
        item_code,

        -- values
        on_hand,
        unit,
        is_count,

        -- timestamps
        source_updated_at,
        counted_at,
        expires_on,
        ingested_at,

        -- versions
        valid_load,
        superseded_load
    from source
)

select * from renamed
