with source as (
    select * from {{ source('landing', 'order_charge') }}
),

renamed as (
    select
        -- ids
        source,
        record_id,
        order_code,
        line_code,
        location_code,
        customer_hash,

        -- values
        kind,
        description,
        amount,
        currency,
        tax_included,

        -- timestamps
        source_updated_at,
        charged_at,
        ingested_at,

        -- versions
        valid_load,
        superseded_load
    from source
)

select * from renamed
