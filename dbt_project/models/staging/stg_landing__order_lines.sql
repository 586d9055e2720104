with source as (
    select * from {{ source('landing', 'order_line') }}
),

renamed as (
    select
        -- ids
        source,
        record_id,
        order_code,
        line_code,
        location_code,
        item_code,
        customer_hash,

        -- values
        channel,
        status,
        quantity,
        unit,
        unit_price,
        discount_amount,
        tax_amount,
        currency,
        tax_included,

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
