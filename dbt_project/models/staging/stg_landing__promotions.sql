with source as (
    select * from {{ source('landing', 'promotion') }}
),

renamed as (
    select
        -- ids
        source,
        record_id,
        promotion_code,
        item_code,
        location_code,

        -- values
        discount,

        -- timestamps
        source_updated_at,
        starts_on,
        ends_on,
        announced_on,
        ingested_at,

        -- versions
        valid_load,
        superseded_load
    from source
)

select * from renamed
