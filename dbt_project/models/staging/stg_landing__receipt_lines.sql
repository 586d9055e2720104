with source as (
    select * from {{ source('landing', 'receipt_line') }}
),

renamed as (
    select
        -- ids
        source,
        record_id,
        receipt_code,
        line_code,
        purchase_order_code,
        purchase_order_line_code,
        supplier_code,
        location_code,
        item_code,

        -- values
        quantity,
        unit,
        unit_cost,
        currency,

        -- timestamps
        source_updated_at,
        received_at,
        expires_on,
        ingested_at,

        -- versions
        valid_load,
        superseded_load
    from source
)

select * from renamed
