with source as (
    select * from {{ source('landing', 'kit_component') }}
),

renamed as (
    select
        -- ids
        source,
        record_id,
        kit_code,
        item_code,

        -- values
        quantity,

        -- timestamps
        source_updated_at,
        ingested_at,

        -- versions
        valid_load,
        superseded_load
    from source
)

select * from renamed
