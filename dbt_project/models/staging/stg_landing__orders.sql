with source as (
    select * from {{ source('landing', 'order') }}
),

renamed as (
    select
        -- ids
        source,
        record_id,
        order_code,
        location_code,
        customer_hash,

        -- values
        channel,
        status,
        currency,
        tax_included,
        total_amount,

        -- timestamps
        source_updated_at,
        ordered_at,
        ingested_at,

        -- versions
        valid_load,
        superseded_load
    from source
)

select * from renamed
