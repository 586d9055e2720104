with source as (
    select * from {{ source('landing', 'location') }}
),

renamed as (
    select
        -- ids
        source,
        record_id,
        location_code,

        -- values
        name,
        kind,
        timezone,
        business_day_start,
        country,
        currency,
        supplied_from,

        -- timestamps
        source_updated_at,
        ingested_at,

        -- versions
        valid_load,
        superseded_load
    from source
)

select * from renamed
