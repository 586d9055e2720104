with source as (
    select * from {{ source('landing', 'item_unit') }}
),

renamed as (
    select
        -- ids
        source,
        record_id,
        item_code,

        -- values
        unit,
        numerator,
        denominator,

        -- timestamps
        source_updated_at,
        ingested_at,

        -- versions
        valid_load,
        superseded_load
    from source
)

select * from renamed
