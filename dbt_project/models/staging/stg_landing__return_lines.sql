with source as (
    select * from {{ source('landing', 'return_line') }}
),

renamed as (
    select
        -- ids
        source,
        record_id,
        return_code,
        line_code,
        order_code,
        location_code,
        item_code,
        customer_hash,

        -- values
        quantity,
        unit,
        refund_amount,
        currency,
        tax_included,
        is_restocked,

        -- timestamps
        source_updated_at,
        returned_at,
        ingested_at,

        -- versions
        valid_load,
        superseded_load
    from source
)

select * from renamed
