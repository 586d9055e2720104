with source as (
    select * from {{ source('landing', 'opening_day') }}
),

renamed as (
    select
        -- ids
        source,
        record_id,
        location_code,

        -- values
        is_open,

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
