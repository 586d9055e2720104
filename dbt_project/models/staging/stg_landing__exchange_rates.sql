with source as (
    select * from {{ source('landing', 'exchange_rate') }}
),

renamed as (
    select
        -- ids
        source,
        record_id,

        -- values
        from_currency,
        to_currency,
        rate,

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
