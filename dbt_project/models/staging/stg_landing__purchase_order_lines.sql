with source as (
    select * from {{ source('landing', 'purchase_order_line') }}
),

renamed as (
    select
        -- ids
        source,
        record_id,
        purchase_order_code,
        line_code,
        supplier_code,
        location_code,
        item_code,
        reference,

        -- values
        status,
        quantity,
        unit,
        unit_price,
        currency,

        -- timestamps
        source_updated_at,
        ordered_at,
        expected_on,
        ingested_at,

        -- versions
        valid_load,
        superseded_load
    from source
)

select * from renamed
