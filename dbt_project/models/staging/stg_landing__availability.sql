with source as (
    select * from {{ source('landing', 'availability') }}
),

renamed as (
    select
        -- ids
        source,
        record_id,
        location_code,
        item_code,

        -- values
        in_stock_share,

        -- timestamps
        source_updated_at,
        date_on,
        ingested_at,

        -- versions
        valid_load,
        superseded_load
    from source
)

select * from renamed
