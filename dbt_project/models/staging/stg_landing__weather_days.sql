with source as (
    select * from {{ source('landing', 'weather_day') }}
),

renamed as (
    select
        -- ids
        source,
        record_id,
        location_code,

        -- values
        temperature,
        precipitation,
        humidity,
        wind,

        -- timestamps
        source_updated_at,
        date_on,
        issued_at,
        ingested_at,

        -- versions
        valid_load,
        superseded_load
    from source
)

select * from renamed
